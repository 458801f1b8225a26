// Text panels: Markdown or HTML, cleaned as Grafana cleans it.
import React from 'react';
import { renderMarkdown, textUtil } from '@grafana/data';
import { replaced } from './variables';

export function Text({ panel, context }) {
  const { mode = 'markdown', content = '' } = panel.options ?? {};
  const text = replaced(content, context.variables, 'text');
  const html = mode === 'html' ? textUtil.sanitize(text) : renderMarkdown(text);
  return <div className="markdown-html" dangerouslySetInnerHTML={{ __html: html }} />;
}
