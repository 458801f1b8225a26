// What a panel says where it has nothing to draw.
import React from 'react';
import { useTheme2 } from '@grafana/ui';

export function Message({ text, failed }) {
  const { colors } = useTheme2();
  const color = failed ? colors.error.text : colors.text.secondary;
  return <div style={{ display: 'grid', placeItems: 'center', height: '100%', color }}>{text}</div>;
}

export const NoData = ({ panel }) => <Message text={panel.fieldConfig?.defaults?.noValue ?? 'No data'} />;
