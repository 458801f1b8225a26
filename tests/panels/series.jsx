// Time series panels: @grafana/ui's TimeSeries.
import React from 'react';
import { TimeSeries } from '@grafana/ui';
import { FieldType } from '@grafana/data';
import { NoData } from './message';
import { hasData } from './frames';

const DEFAULTS = { drawStyle: 'line', lineWidth: 1, fillOpacity: 0, pointSize: 5, axisGridShow: true };
const LEGEND = { showLegend: true, displayMode: 'list', placement: 'bottom', calcs: [] };

// What is no number is a gap, as in Grafana's own panel.
const graphable = (field) =>
  field.type === FieldType.number
    ? {
        ...field,
        config: { ...field.config, custom: { ...DEFAULTS, ...field.config.custom } },
        values: field.values.map((value) => (Number.isFinite(value) ? value : null)),
      }
    : field;

export function Series({ panel, frames, context, width, height }) {
  if (!hasData(frames)) return <NoData panel={panel} />;
  return (
    <TimeSeries
      frames={frames.map((frame) => ({ ...frame, fields: frame.fields.map(graphable) }))}
      timeRange={context.range}
      timeZone={context.timeZone}
      legend={{ ...LEGEND, ...panel.options?.legend }}
      options={panel.options}
      structureRev={1}
      {...{ width, height }}
    />
  );
}
