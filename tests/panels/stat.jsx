// Stat panels: @grafana/ui's BigValue, once for each value.
import React from 'react';
import { BigValue, VizRepeater } from '@grafana/ui';
import { valuesOf } from './values';

export function Stat(props) {
  const { panel, context, width, height } = props;
  const { graphMode = 'area', colorMode = 'value', orientation = 'auto', ...options } = panel.options ?? {};
  const values = valuesOf(props, {
    sparkline: graphMode !== 'none',
    percentChange: options.showPercentChange,
  });
  const draw = ({ value: { display, sparkline }, width: w, height: h, count }) => (
    <BigValue
      theme={context.theme}
      value={display}
      sparkline={sparkline && { ...sparkline, timeRange: context.range }}
      width={w}
      height={h}
      count={count}
      colorMode={colorMode}
      graphMode={graphMode}
      justifyMode={options.justifyMode ?? 'auto'}
      textMode={options.textMode ?? 'auto'}
      text={options.text}
      percentChangeColorMode={options.percentChangeColorMode}
      disableWideLayout={options.wideLayout === false}
    />
  );
  return (
    <VizRepeater
      getValues={() => values}
      renderValue={draw}
      source={values}
      renderCounter={0}
      autoGrid
      {...{ width, height, orientation }}
    />
  );
}
