"""The embeddings and rerankers of the provider packages, pointed at a wire on loopback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import httpx
from botocore.config import Config
from google.oauth2.credentials import Credentials
from langchain_aws import BedrockEmbeddings, BedrockRerank
from langchain_cohere import CohereEmbeddings, CohereRerank
from langchain_core.embeddings import Embeddings
from langchain_google_genai import GoogleGenerativeAIEmbeddings
from langchain_mistralai import MistralAIEmbeddings
from langchain_ollama import OllamaEmbeddings
from langchain_openai import AzureOpenAIEmbeddings, OpenAIEmbeddings
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tests.services.embeddings_wire import EmbeddingsWire
from tests.services.wire import NO_KEY

# Hidden retries would make two requests of one call.
_NO_RETRIES = Config(retries={"total_max_attempts": 1})


def openai(wire: EmbeddingsWire, **options: Any) -> OpenAIEmbeddings:
    """Without the check of lengths, for which tiktoken downloads its tables."""
    return OpenAIEmbeddings(
        base_url=f"{wire.url}/v1",
        api_key=NO_KEY,
        check_embedding_ctx_length=False,
        model="text-embedding-3-small",
        max_retries=0,
        **options,
    )


def azure(wire: EmbeddingsWire) -> AzureOpenAIEmbeddings:
    return AzureOpenAIEmbeddings(
        azure_endpoint=wire.url,
        azure_deployment="prod-embeddings",
        api_version="2024-10-21",
        api_key=NO_KEY,
        check_embedding_ctx_length=False,
        max_retries=0,
    )


def mistral(wire: EmbeddingsWire) -> MistralAIEmbeddings:
    """With a tokenizer of our own: its own is downloaded."""
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    endpoint = f"{wire.url}/mistral/v1/"
    return MistralAIEmbeddings(
        client=httpx.Client(base_url=endpoint),
        async_client=httpx.AsyncClient(base_url=endpoint),
        api_key=NO_KEY,
        tokenizer=tokenizer,
        max_retries=1,
    )


def ollama(wire: EmbeddingsWire) -> OllamaEmbeddings:
    return OllamaEmbeddings(model="nomic-embed-text", base_url=wire.url)


def cohere(wire: EmbeddingsWire) -> CohereEmbeddings:
    made: Any = CohereEmbeddings  # whose clients stand there as if they had to be given
    return made(model="embed-v4.0", base_url=wire.url, cohere_api_key=NO_KEY, max_retries=1)


def gemini(wire: EmbeddingsWire) -> GoogleGenerativeAIEmbeddings:
    return GoogleGenerativeAIEmbeddings(
        model="models/gemini-embedding-001", base_url=wire.url, api_key=NO_KEY
    )


def vertex(wire: EmbeddingsWire) -> GoogleGenerativeAIEmbeddings:
    return GoogleGenerativeAIEmbeddings(
        model="gemini-embedding-001",
        base_url=wire.url,
        vertexai=True,
        project="house",
        location="us-central1",
        credentials=Credentials("none"),
    )


def bedrock(wire: EmbeddingsWire) -> BedrockEmbeddings:
    return BedrockEmbeddings(
        model_id="amazon.titan-embed-text-v2:0",
        endpoint_url=wire.url,
        region_name="us-east-1",
        aws_access_key_id=NO_KEY,
        aws_secret_access_key=NO_KEY,
        config=_NO_RETRIES,
    )


EMBEDDERS: dict[str, Callable[[EmbeddingsWire], Embeddings]] = {
    "openai": openai,
    "azure": azure,
    "mistral": mistral,
    "ollama": ollama,
    "cohere": cohere,
    "gemini": gemini,
    "vertex": vertex,
    "bedrock": bedrock,
}


def cohere_rerank(wire: EmbeddingsWire) -> CohereRerank:
    return CohereRerank(model="rerank-v3.5", base_url=wire.url, cohere_api_key=NO_KEY, top_n=2)


def bedrock_rerank(wire: EmbeddingsWire) -> BedrockRerank:
    """With a client of our own: the address that it takes does not reach its own."""
    client = boto3.client(
        "bedrock-agent-runtime",
        region_name="us-east-1",
        endpoint_url=wire.url,
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=_NO_RETRIES,
    )
    arn = "arn:aws:bedrock:us-east-1::foundation-model/cohere.rerank-v3-5:0"
    return BedrockRerank(model_arn=arn, client=client, top_n=2)


RERANKERS = {"cohere": cohere_rerank, "bedrock": bedrock_rerank}
