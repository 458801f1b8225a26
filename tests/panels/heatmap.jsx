// Heatmap panels. @grafana/ui exports no heatmap, so the cells are drawn here on the axes of its uPlot, which
// is what Grafana's own panel does: a row for each bucket, a column for each step, darker where more fell in.
import React from 'react';
import { UPlotChart, UPlotConfigBuilder, VizLayout } from '@grafana/ui';
import { FieldType, formattedValueToString, getValueFormat } from '@grafana/data';
import * as schemes from 'd3-scale-chromatic';
import { hasData } from './frames';
import { NoData } from './message';

function colourOf({ scheme = 'Oranges', exponent = 0.5, mode, fill = 'dark-orange', reverse }, theme) {
  if (mode === 'opacity') {
    const color = theme.visualization.getColorByName(fill);
    return (share) => alpha(color, share ** exponent);
  }
  const interpolate = schemes[`interpolate${scheme}`];
  if (!interpolate) throw new Error(`no colour scheme is called ${scheme}`);
  // Schemes of one hue begin with white, which is most of all on a dark page.
  const inverted = theme.isDark !== Boolean(reverse);
  return (share) => interpolate(inverted ? 1 - share ** exponent : share ** exponent);
}

const alpha = (color, opacity) => `color-mix(in srgb, ${color} ${Math.round(opacity * 100)}%, transparent)`;

function labelsOf(rows, { unit = 'short', decimals }) {
  const format = getValueFormat(unit);
  return rows.map(({ name }) => {
    if (name === '+Inf') return '∞';
    return Number.isNaN(Number(name)) ? name : formattedValueToString(format(Number(name), decimals));
  });
}

function builderOf({ times, rows, range, timeZone, theme, axis, colour, most, least, gap }) {
  const builder = new UPlotConfigBuilder(timeZone);
  builder.addScale({
    scaleKey: 'x',
    isTime: true,
    orientation: 0,
    direction: 1,
    range: () => [range.from.valueOf(), range.to.valueOf()],
  });
  builder.addScale({ scaleKey: 'y', orientation: 1, direction: 1, range: () => [0, rows.length] });
  builder.addAxis({ scaleKey: 'x', isTime: true, placement: 'bottom', timeZone, theme, grid: { show: false } });
  const labels = labelsOf(rows, axis);
  builder.addAxis({
    scaleKey: 'y',
    placement: 'left',
    theme,
    label: axis.axisLabel,
    grid: { show: false },
    size: 12 + 7 * Math.max(...labels.map((label) => label.length)),
    // The upper bound of a bucket stands at the top of its row; where rows are low, not every one is written.
    splits: (plot) => {
      const every = Math.ceil((18 * rows.length) / (plot.bbox.height / devicePixelRatio));
      return rows.map((_, index) => index + 1).filter((bound) => (rows.length - bound) % every === 0);
    },
    values: (_, bounds) => bounds.map((bound) => labels[bound - 1]),
  });
  builder.addSeries({ scaleKey: 'y', theme, pathBuilder: () => null, pointsBuilder: () => null, show: true });
  builder.setPrepData((frames) => frames);
  const step = times[1] - times[0] || range.to.valueOf() - range.from.valueOf();
  builder.addHook('drawAxes', (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    rows.forEach(({ values }, row) => {
      const [top, bottom] = [row + 1, row].map((bound) => plot.valToPos(bound, 'y', true));
      values.forEach((value, column) => {
        if (value <= least) return;
        const [left, right] = [times[column] - step, times[column]].map((time) => plot.valToPos(time, 'x', true));
        ctx.fillStyle = colour(value / most);
        ctx.fillRect(left, top, Math.max(1, right - left - gap), Math.max(1, bottom - top - gap));
      });
    });
    ctx.restore();
  });
  return builder;
}

function Scale({ colour, most, unit, theme }) {
  const stops = Array.from({ length: 11 }, (_, index) => colour(index / 10)).join(', ');
  const format = (value) => formattedValueToString(getValueFormat(unit ?? 'short')(value));
  const color = theme.colors.text.secondary;
  const row = { display: 'flex', justifyContent: 'space-between', width: 180, fontSize: 12, color };
  return (
    <div style={{ padding: '4px 8px' }}>
      <div style={{ width: 180, height: 8, background: `linear-gradient(to right, ${stops})` }} />
      <div style={row}>
        <span>{format(0)}</span>
        <span>{format(most)}</span>
      </div>
    </div>
  );
}

export function Heatmap({ panel, frames, context, width, height }) {
  if (!hasData(frames)) return <NoData panel={panel} />;
  const { theme, range, timeZone } = context;
  const { color = {}, yAxis, cellGap = 1, legend, cellValues, filterValues } = panel.options ?? {};
  const [frame] = frames;
  const times = frame.fields.find(({ type }) => type === FieldType.time).values;
  const rows = frame.fields.filter(({ type }) => type === FieldType.number);
  const most = Math.max(...rows.flatMap(({ values }) => values), Number.MIN_VALUE);
  const least = filterValues?.le ?? 0;
  const colour = colourOf(color, theme);
  const axis = { unit: panel.fieldConfig?.defaults?.unit, ...yAxis };
  const config = builderOf({ times, rows, range, timeZone, theme, axis, colour, most, least, gap: cellGap });
  const scale = legend?.show !== false && (
    <VizLayout.Legend placement="bottom" maxHeight="20%">
      <Scale unit={cellValues?.unit} {...{ colour, most, theme }} />
    </VizLayout.Legend>
  );
  return (
    <VizLayout width={width} height={height} legend={scale || null}>
      {(w, h) => <UPlotChart config={config} data={[times, times.map(() => null)]} width={w} height={h} />}
    </VizLayout>
  );
}
