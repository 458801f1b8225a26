// Gauge panels. @grafana/ui exports no gauge, so the arc is drawn here, with the values, colours and
// text that @grafana/data and @grafana/ui make of the panel's options.
import React from 'react';
import { FormattedValueDisplay, VizRepeater } from '@grafana/ui';
import { arc } from 'd3-shape';
import { valuesOf } from './values';

const HALF = 0.69 * Math.PI; // of the arc, from its top to either end

function Arc({ from, to, radius, thickness, color }) {
  const shape = { startAngle: from, endAngle: to, outerRadius: radius, innerRadius: radius - thickness };
  return <path d={arc()(shape)} fill={color} />;
}

// The thresholds as a thin ring of their colours, outside the arc.
function Markers({ field, angle, radius, thickness, theme }) {
  const { steps, mode } = field.thresholds;
  const { min = 0, max = 100 } = field;
  const place = (value) => (mode === 'percentage' ? min + (value / 100) * (max - min) : value);
  const starts = steps.map(({ value }) => Math.min(max, Math.max(min, value === -Infinity ? min : place(value))));
  return steps.map((step, index) => (
    <Arc
      key={index}
      from={angle(starts[index])}
      to={angle(starts[index + 1] ?? max)}
      color={theme.visualization.getColorByName(step.color)}
      {...{ radius, thickness }}
    />
  ));
}

function Gauge({ value: { display, field }, options, theme, width, height, count }) {
  const titled = count > 1 || options.text?.titleSize;
  const radius = Math.min(width / 2, (height - (titled ? 24 : 0)) / (1 - Math.cos(HALF))) - 2;
  const { min = 0, max = 100 } = field;
  const angle = (value) => -HALF + 2 * HALF * Math.min(1, Math.max(0, (value - min) / (max - min || 1)));
  const ring = options.showThresholdMarkers !== false && field.thresholds ? 0.06 * radius : 0;
  const inner = radius - (ring ? ring + 3 : 0);
  const thickness = 0.2 * radius;
  const fontSize = options.text?.valueSize ?? Math.round(radius * 0.32);
  const style = { color: display.color, fontSize, fontWeight: 500 };
  const bottom = radius * (1 - Math.cos(HALF));
  return (
    <div style={{ width, height, display: 'grid', placeItems: 'center' }}>
      <div style={{ position: 'relative', width: 2 * radius, height: bottom + (titled ? 20 : 0) }}>
        <svg width={2 * radius} height={bottom} viewBox={`${-radius} ${-radius} ${2 * radius} ${bottom}`}>
          <Arc from={-HALF} to={HALF} radius={inner} thickness={thickness} color={theme.colors.background.secondary} />
          {Number.isFinite(display.numeric) && (
            <Arc from={-HALF} to={angle(display.numeric)} radius={inner} thickness={thickness} color={display.color} />
          )}
          {ring > 0 && <Markers radius={radius} thickness={ring} {...{ field, angle, theme }} />}
        </svg>
        <div style={{ position: 'absolute', inset: 0, height: 2 * radius, display: 'grid', placeItems: 'center' }}>
          <FormattedValueDisplay value={display} style={style} />
        </div>
        {titled && <div style={{ textAlign: 'center', whiteSpace: 'nowrap' }}>{display.title}</div>}
      </div>
    </div>
  );
}

export function Dial(props) {
  const { panel, context, width, height } = props;
  const options = panel.options ?? {};
  const values = valuesOf(props);
  return (
    <VizRepeater
      getValues={() => values}
      renderValue={(one) => <Gauge options={options} theme={context.theme} {...one} />}
      source={values}
      renderCounter={0}
      autoGrid
      orientation={options.orientation ?? 'auto'}
      {...{ width, height }}
    />
  );
}
