// Pie chart panels. @grafana/ui exports no pie, so the slices are drawn here, with the values and colours
// of @grafana/data and the legend of @grafana/ui.
import React from 'react';
import { VizLayout, VizLegend } from '@grafana/ui';
import { formattedValueToString } from '@grafana/data';
import { arc, pie } from 'd3-shape';
import { hasData } from './frames';
import { NoData } from './message';
import { valuesOf } from './values';

const percentOf = (share) => `${Math.round(share * 100)}%`;

function Slices({ values, total, options, theme, width, height }) {
  const radius = Math.min(width, height) / 2 - 4;
  const slices = pie().sort(null).value(({ display }) => Math.max(0, display.numeric))(values);
  const innerRadius = options.pieType === 'donut' ? 0.6 * radius : 0;
  const shown = options.displayLabels ?? [];
  const label = ({ data: { display } }) =>
    [
      shown.includes('name') && display.title,
      shown.includes('value') && formattedValueToString(display),
      shown.includes('percent') && percentOf(display.numeric / total),
    ].filter(Boolean);
  return (
    <svg width={width} height={height} viewBox={`${-width / 2} ${-height / 2} ${width} ${height}`}>
      {slices.map((slice, index) => {
        const shape = { ...slice, innerRadius, outerRadius: radius };
        const wide = slice.endAngle - slice.startAngle > 0.3;
        const centre = arc().centroid(innerRadius ? shape : { ...shape, innerRadius: 0.3 * radius });
        return (
          <g key={index}>
            <path d={arc()(shape)} fill={slice.data.display.color} stroke={theme.colors.background.primary} />
            <text
              transform={`translate(${centre})`}
              textAnchor="middle"
              fontSize={12}
              fill={theme.colors.getContrastText(slice.data.display.color)}
            >
              {wide &&
                label(slice).map((line, row) => (
                  <tspan key={row} x={0} dy={row ? '1.1em' : 0}>
                    {line}
                  </tspan>
                ))}
            </text>
          </g>
        );
      })}
    </svg>
  );
}

function Legend({ values, total, legend }) {
  const shown = legend.values ?? [];
  const items = values.map(({ display }) => ({
    label: display.title,
    color: display.color,
    yAxis: 1,
    getDisplayValues: () =>
      [
        shown.includes('value') && { ...display, title: 'Value' },
        shown.includes('percent') && {
          title: 'Percent',
          numeric: display.numeric / total,
          text: percentOf(display.numeric / total),
        },
      ].filter(Boolean),
  }));
  return (
    <VizLegend items={items} displayMode={legend.displayMode} placement={legend.placement} isSortable />
  );
}

export function Pie(props) {
  const { panel, context, width, height } = props;
  const options = panel.options ?? {};
  const legend = { showLegend: true, displayMode: 'list', placement: 'right', ...options.legend };
  if (!hasData(props.frames)) return <NoData panel={panel} />;
  const values = valuesOf(props).filter(({ display }) => Number.isFinite(display.numeric));
  const total = values.reduce((sum, { display }) => sum + Math.max(0, display.numeric), 0) || 1;
  const beside = legend.showLegend && legend.displayMode !== 'hidden' && (
    <VizLayout.Legend placement={legend.placement} maxHeight="35%" maxWidth="50%">
      <Legend {...{ values, total, legend }} />
    </VizLayout.Legend>
  );
  return (
    <VizLayout width={width} height={height} legend={beside || null}>
      {(w, h) => <Slices width={w} height={h} theme={context.theme} {...{ values, total, options }} />}
    </VizLayout>
  );
}
