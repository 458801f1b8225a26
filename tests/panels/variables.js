// Variables of a board in its titles, legends and queries: $name, ${name}, ${name:format}, [[name]].
import { rangeUtil } from '@grafana/data';
import { get } from 'lodash';

const REFERENCE = /\$(\w+)|\$\{(\w+)((?:\.\w+)*)(?::(\w+))?\}|\[\[(\w+)(?::(\w+))?\]\]/g;

const escaped = (text) => text.replace(/[\\^$*+?.()|[\]{}]/g, '\\\\$&');

const FORMATS = {
  raw: (values) => values.join(','),
  csv: (values) => values.join(','),
  pipe: (values) => values.join('|'),
  text: (values) => values.map((value) => (value === '.*' ? 'All' : value)).join(' + '),
  regex: (values) => (values.length === 1 ? escaped(values[0]) : `(${values.map(escaped).join('|')})`),
};

// A string stands in a query as it is (All is `.*`), a list as a regular expression of its values.
export function replaced(text, variables, format, scopedVars = {}) {
  return text.replace(REFERENCE, (reference, plain, braced, path, own, bracketed, old) => {
    const name = plain ?? braced ?? bracketed;
    if (name in scopedVars) return String(get(scopedVars[name].value, (path ?? '').slice(1)) ?? '');
    if (!(name in variables)) return reference;
    const value = variables[name];
    if (!Array.isArray(value) && (own ?? old ?? format) !== 'text') return String(value);
    return (FORMATS[own ?? old ?? format] ?? FORMATS.raw)([value].flat().map(String));
  });
}

// What the board was saved with, and what it was asked to be drawn with instead.
export function chosen(board, given) {
  const values = {};
  for (const { name, type, query, current, allValue } of board.templating?.list ?? []) {
    const saved = current?.value ?? (type === 'query' ? '$__all' : String(query ?? '').split(',')[0]);
    values[name] = [saved].flat()[0] === '$__all' ? (allValue ?? '.*') : saved;
  }
  return { ...values, ...given };
}

// $__interval and its like, which depend on the width of a panel and the range that is shown.
export function builtIn(range, step, scrapeInterval) {
  const milliseconds = range.to.valueOf() - range.from.valueOf();
  const seconds = Math.round(milliseconds / 1000);
  const rate = Math.max(step + scrapeInterval, 4 * scrapeInterval);
  return {
    __interval: rangeUtil.secondsToHms(step / 1000),
    __interval_ms: step,
    __rate_interval: `${Math.ceil(rate / 1000)}s`,
    __range: `${seconds}s`,
    __range_s: seconds,
    __range_ms: milliseconds,
  };
}
