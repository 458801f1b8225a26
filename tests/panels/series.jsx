// Time series panels: @grafana/ui's TimeSeries.
import React from 'react';
import { TimeSeries, preparePlotFrame } from '@grafana/ui';
import { FieldType, getFieldDisplayName } from '@grafana/data';
import { mark } from './annotations';
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

// Colours by name need the names of the series, which are lost when these are joined.
function joined(frames, dimensions, range) {
  const frame = preparePlotFrame(frames, dimensions, range);
  for (const field of frame?.fields ?? []) {
    const { frameIndex, fieldIndex } = field.state?.origin ?? {};
    const own = frames[frameIndex];
    if (own) field.state = { ...field.state, displayName: getFieldDisplayName(own.fields[fieldIndex], own, frames) };
  }
  return frame;
}

export function Series({ panel, frames, context, width, height }) {
  if (!hasData(frames)) return <NoData panel={panel} />;
  return (
    <TimeSeries
      frames={frames.map((frame) => ({ ...frame, fields: frame.fields.map(graphable) }))}
      timeRange={context.range}
      timeZone={context.timeZone}
      legend={{ ...LEGEND, ...panel.options?.legend }}
      options={panel.options}
      preparePlotFrame={joined}
      structureRev={1}
      {...{ width, height }}
    >
      {(builder) => mark(builder, context.annotations, context.theme)}
    </TimeSeries>
  );
}
