// Table panels: @grafana/ui's TableNG, which Grafana's own panel is.
import React from 'react';
import { TableNG } from '@grafana/ui/unstable';
import { fieldConfigOf } from './frames';
import { NoData } from './message';

export function Cells({ panel, frames, context, width, height }) {
  const { showHeader = true, sortBy = [], cellHeight, frameIndex = 0, ...options } = panel.options ?? {};
  const frame = frames[frameIndex] ?? frames[0];
  if (!frame?.length) return <NoData panel={panel} />;
  return (
    <TableNG
      data={frame}
      noHeader={!showHeader}
      sortBy={sortBy}
      cellHeight={cellHeight}
      enablePagination={options.enablePagination}
      enableVirtualization={false}
      timeRange={context.range}
      fieldConfig={fieldConfigOf(panel)}
      structureRev={1}
      {...{ width, height }}
    />
  );
}
