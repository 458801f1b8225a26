// The values that stat, gauge, bar gauge and pie panels show: each field reduced as their options say.
import { getFieldDisplayValues } from '@grafana/data';
import { fieldConfigOf } from './frames';
import { replaced } from './variables';

export function valuesOf({ panel, frames, context }, more = {}) {
  return getFieldDisplayValues({
    data: frames,
    fieldConfig: fieldConfigOf(panel),
    reduceOptions: { calcs: ['lastNotNull'], values: false, fields: '', ...panel.options?.reduceOptions },
    replaceVariables: (text, scopedVars) => replaced(text, context.variables, 'text', scopedVars),
    theme: context.theme,
    timeZone: context.timeZone,
    ...more,
  });
}
