// A panel's queries to Prometheus, and their answers as the data frames Grafana would make of them.
import { FieldType, createDataFrame, rangeUtil } from '@grafana/data';
import { builtIn, replaced } from './variables';

const number = (text) => ({ '+Inf': Infinity, '-Inf': -Infinity })[text] ?? Number(text);
const samples = (series) => series.values ?? [series.value];

export async function asked(prometheus, path, parameters) {
  const answer = await fetch(`${prometheus}/api/v1/${path}`, {
    method: 'POST',
    body: new URLSearchParams(parameters),
  });
  const { status, error, data } = await answer.json();
  if (status !== 'success') throw new Error(error);
  return data.resultType === 'scalar' || data.resultType === 'string'
    ? [{ metric: {}, value: data.result }]
    : data.result;
}

function named({ __name__: name = '', ...labels }) {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return pairs.length ? `${name}{${pairs.join(', ')}}` : name;
}

function legend({ legendFormat, expr }, metric) {
  if (legendFormat === '__auto') return Object.keys(metric).length ? undefined : expr;
  if (!legendFormat) return named(metric) || expr;
  return legendFormat.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label) => metric[label] ?? '');
}

const timeField = (values, interval) => ({
  name: 'Time',
  type: FieldType.time,
  config: { interval },
  values,
});

const asSeries = (target, result, step) =>
  result.map((series) =>
    createDataFrame({
      refId: target.refId,
      fields: [
        timeField(samples(series).map(([time]) => time * 1000), step),
        {
          name: 'Value',
          type: FieldType.number,
          labels: series.metric,
          config: { displayNameFromDS: legend(target, series.metric) },
          values: samples(series).map(([, value]) => number(value)),
        },
      ],
    })
  );

function asTable(target, result, valueName) {
  if (!result.length) return [];
  const rows = result.flatMap((series) =>
    samples(series).map(([time, value]) => ({ time: time * 1000, value: number(value), metric: series.metric }))
  );
  const labels = [...new Set(result.flatMap(({ metric }) => Object.keys(metric)))].sort();
  return [
    createDataFrame({
      refId: target.refId,
      fields: [
        timeField(rows.map(({ time }) => time)),
        ...labels.map((label) => ({
          name: label,
          type: FieldType.string,
          config: {},
          values: rows.map(({ metric }) => metric[label] ?? ''),
        })),
        { name: valueName, type: FieldType.number, config: {}, values: rows.map(({ value }) => value) },
      ],
    }),
  ];
}

// Cumulative buckets, `le`, as what fell into each of them.
function asHeatmap(target, result, step) {
  if (!result.length) return [];
  const buckets = result
    .map(({ metric, values }) => ({ le: number(metric.le), name: metric.le, at: new Map(values) }))
    .sort((a, b) => a.le - b.le);
  const times = [...new Set(buckets.flatMap(({ at }) => [...at.keys()]))].sort((a, b) => a - b);
  const count = (bucket, time) => number(bucket?.at.get(time) ?? 0);
  return [
    createDataFrame({
      refId: target.refId,
      fields: [
        timeField(times.map((time) => time * 1000), step),
        ...buckets.map((bucket, index) => ({
          name: bucket.name,
          type: FieldType.number,
          labels: { le: bucket.name },
          config: {},
          values: times.map((time) => Math.max(0, count(bucket, time) - count(buckets[index - 1], time))),
        })),
      ],
    }),
  ];
}

function stepOf(panel, target, range, width, scrapeInterval) {
  const least = target.interval || panel.interval || `${scrapeInterval}ms`;
  return rangeUtil.calculateInterval(range, panel.maxDataPoints ?? width, least).intervalMs;
}

export async function framesOf(panel, width, { prometheus, range, variables, scrapeInterval }) {
  const targets = (panel.targets ?? []).filter(({ expr, hide }) => expr && !hide);
  const answers = targets.map(async (target) => {
    const step = stepOf(panel, target, range, width, scrapeInterval);
    const all = { ...variables, ...builtIn(range, step, scrapeInterval) };
    const query = replaced(target.expr, all, 'regex');
    const meant = { ...target, expr: query, legendFormat: replaced(target.legendFormat ?? '', all, 'text') };
    const shape = (result) => {
      if (target.format === 'heatmap') return asHeatmap(meant, result, step);
      if (target.format !== 'table') return asSeries(meant, result, step);
      return asTable(meant, result, targets.length > 1 ? `Value #${target.refId}` : 'Value');
    };
    const aligned = (time) => Math.floor(time / step) * (step / 1000);
    const [start, end] = [aligned(range.from.valueOf()), aligned(range.to.valueOf())];
    const frames = [];
    if (target.instant) {
      frames.push(...shape(await asked(prometheus, 'query', { query, time: range.to.valueOf() / 1000 })));
    }
    if (target.range || !target.instant) {
      frames.push(
        ...shape(await asked(prometheus, 'query_range', { query, start, end, step: step / 1000 }))
      );
    }
    return frames;
  });
  return (await Promise.all(answers)).flat();
}
