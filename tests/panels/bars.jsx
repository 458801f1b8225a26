// Bar gauge panels: @grafana/ui's BarGauge, once for each value.
import React from 'react';
import { BarGauge, VizRepeater } from '@grafana/ui';
import { getDisplayProcessor, getDisplayValueAlignmentFactors } from '@grafana/data';
import { valuesOf } from './values';

export function Bars(props) {
  const { panel, context, width, height } = props;
  const { orientation = 'auto', displayMode = 'gradient', ...options } = panel.options ?? {};
  const { theme, timeZone } = context;
  const values = valuesOf(props);
  const draw = ({ value, width: w, height: h, orientation: way, alignmentFactors, count }) => (
    <BarGauge
      theme={theme}
      value={value.display}
      field={value.field}
      display={value.view?.getFieldDisplayProcessor(value.colIndex) ?? getDisplayProcessor({ theme, timeZone })}
      width={w}
      height={h}
      orientation={way}
      displayMode={displayMode}
      alignmentFactors={count > 1 ? alignmentFactors : undefined}
      itemSpacing={displayMode === 'lcd' ? 2 : 10}
      lcdCellWidth={12}
      showUnfilled={options.showUnfilled ?? true}
      valueDisplayMode={options.valueMode}
      namePlacement={options.namePlacement}
      text={options.text}
    />
  );
  return (
    <VizRepeater
      getValues={() => values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={draw}
      source={values}
      renderCounter={0}
      minVizWidth={options.minVizWidth ?? 8}
      minVizHeight={options.minVizHeight ?? 16}
      maxVizHeight={options.maxVizHeight ?? 300}
      {...{ width, height, orientation }}
    />
  );
}
