"""What one can do at once, as the runbooks say it."""

from __future__ import annotations

CAP_THE_BUDGET = (
    "Cap what it may spend: add `[budgets.cap]` with `limit_usd = 5`, "
    '`scope = { agent_name = "NAME" }` and `action = "block"` to the file in '
    "`AGENTMETRICS_BUDGETS_FILE`, and restart the service. Calls beyond it raise "
    "`BudgetExceeded` before anything is sent."
)
CAP_THE_RUN = (
    "Cap a single run: set `max_run_cost_usd` on the `InstrumentedAgent`, or LangGraph's "
    "`recursion_limit` in the config of the run."
)
SWITCH_THE_MODEL = (
    "Switch the model: name another one in your router or settings, or let calls fall back with "
    "`first.with_fallbacks([second])`, or `ModelFallbackMiddleware(second)` in an agent."
)
RESTART_THE_WORKER = (
    "Restart the worker, such as with `kubectl rollout restart deployment/NAME` or "
    "`systemctl restart NAME`. On SIGTERM, let the program end normally, so that the ledger "
    "writes what is pending."
)
ROLL_BACK = "If it began with a deployment, roll that back first and look for the cause afterwards."
CHECK_THE_PROVIDER = "Look at the provider's status page, and at the quotas of the account."
SHOW_THE_COST = (
    "See who spent it: `agentmetrics cost --period day --by agent,model`, with the "
    "`AGENTMETRICS_LEDGER_URL` of the service; without a ledger, on the board *Cost and budgets*."
)
