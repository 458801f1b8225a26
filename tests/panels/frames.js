// What a panel shows of its data: transformations, then units, colours and the like of each field.
import {
  FieldType,
  applyFieldOverrides,
  cacheFieldDisplayNames,
  standardTransformers,
  standardTransformersRegistry,
  transformDataFrame,
} from '@grafana/data';
import { uniqBy } from 'lodash';
import { lastValueFrom } from 'rxjs';
import { replaced } from './variables';

standardTransformersRegistry.setInit(() =>
  uniqBy(Object.values(standardTransformers), 'id').map((transformation) => ({
    id: transformation.id,
    name: transformation.name,
    transformation: () => Promise.resolve(transformation),
  }))
);

// JSON has no infinity: the first step's value, which is below all others, is null there.
const withBase = (thresholds) => ({
  ...thresholds,
  steps: thresholds.steps.map((step) => ({ ...step, value: step.value ?? -Infinity })),
});

const option = (path, process = (value) => value) => ({
  id: path,
  path,
  process: (value, context) => (value == null ? value : process(value, context)),
  shouldApply: () => true,
});

const STANDARD = [
  ...['unit', 'decimals', 'min', 'max', 'noValue', 'mappings', 'color', 'links', 'description', 'fieldMinMax'].map(
    (path) => option(path)
  ),
  option('displayName', (name, { field, replaceVariables }) => replaceVariables(name, field.state.scopedVars)),
  option('thresholds', withBase),
];

// Options of a panel's own, `custom.…`, are whatever it says they are.
const REGISTRY = {
  list: () => STANDARD,
  getIfExists: (id) =>
    id.startsWith('custom.')
      ? { ...option(id.slice('custom.'.length)), isCustom: true }
      : STANDARD.find((standard) => standard.id === id),
};

// What Grafana's own panels have where a board says nothing.
const THRESHOLDS = { mode: 'absolute', steps: [{ color: 'green', value: null }, { color: 'red', value: 80 }] };
const PALETTE = new Set(['piechart', 'timeseries']);

export function fieldConfigOf({ type, fieldConfig }) {
  const color = { mode: PALETTE.has(type) ? 'palette-classic' : 'thresholds' };
  return {
    defaults: { thresholds: THRESHOLDS, color, ...fieldConfig?.defaults },
    overrides: fieldConfig?.overrides ?? [],
  };
}

export async function prepared(panel, frames, { theme, variables, timeZone }) {
  const interpolate = (text, scopedVars) => replaced(text, variables, 'text', scopedVars);
  const unknown = (panel.transformations ?? []).find(({ id }) => !standardTransformersRegistry.getIfExists(id));
  if (unknown) throw new Error(`no transformation is called ${unknown.id}`);
  const wanted = (panel.transformations ?? []).filter(({ disabled }) => !disabled);
  const transformed = await lastValueFrom(transformDataFrame(wanted, frames, { interpolate }));
  const custom = panel.fieldConfig?.defaults?.custom ?? {};
  const own = transformed.map((frame) => ({
    ...frame,
    fields: frame.fields.map((field) => ({
      ...field,
      config: { ...field.config, custom: { ...custom, ...field.config.custom } },
    })),
  }));
  const configured = applyFieldOverrides({
    data: own,
    fieldConfig: fieldConfigOf(panel),
    fieldConfigRegistry: REGISTRY,
    replaceVariables: interpolate,
    theme,
    timeZone,
  });
  cacheFieldDisplayNames(configured);
  return configured;
}

// A panel of nothing but NaN draws, and shows nobody anything.
export const hasData = (frames) =>
  frames.some(({ fields }) =>
    fields.some(({ type, values }) => type === FieldType.number && values.some((value) => Number.isFinite(value)))
  );
