// What a board in the classic schema may be, in the words of @grafana/schema.
import type * as dashboard from '../node_modules/@grafana/schema/dist/types/veneer/dashboard.types';
import type * as bargauge from '../node_modules/@grafana/schema/dist/types/raw/composable/bargauge/panelcfg/x/types.gen';
import type * as gauge from '../node_modules/@grafana/schema/dist/types/raw/composable/gauge/panelcfg/x/types.gen';
import type * as heatmap from '../node_modules/@grafana/schema/dist/types/raw/composable/heatmap/panelcfg/x/types.gen';
import type * as piechart from '../node_modules/@grafana/schema/dist/types/raw/composable/piechart/panelcfg/x/types.gen';
import type * as stat from '../node_modules/@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type * as table from '../node_modules/@grafana/schema/dist/types/raw/composable/table/panelcfg/x/types.gen';
import type * as text from '../node_modules/@grafana/schema/dist/types/raw/composable/text/panelcfg/x/types.gen';
import type * as timeseries from '../node_modules/@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';

// JSON writes an enumeration as its value.
type Written<T> = 0 extends 1 & T ? any : T extends string ? `${T}` : T extends object ? { [K in keyof T]: Written<T[K]> } : T;

// A panel may leave out any option of its own: it has a default.
type Some<T> = 0 extends 1 & T ? any : T extends string ? `${T}` : T extends object ? { [K in keyof T]?: Some<T[K]> } : T;

// Grafana 11 writes these, and 13 reads them although its schema no longer has them.
interface Annotation extends dashboard.AnnotationQuery {
  expr?: string;
}
interface Variable extends dashboard.VariableModel {
  auto?: boolean;
  auto_count?: number;
  auto_min?: string;
}
interface TableOptions extends table.Options {
  footer?: object;
}

type BoardAlone = Omit<dashboard.Dashboard, 'panels' | 'annotations' | 'templating'> & {
  annotations?: { list?: Annotation[] };
  templating?: { list?: Variable[] };
};

// A board without its panels, and a row without those inside it.
export type Board = Written<BoardAlone>;
export type Row = Written<Omit<dashboard.RowPanel, 'panels'>>;
export type Panel = Written<dashboard.Panel>;

// What is a panel's own, by its type.
export interface Options {
  bargauge: Some<bargauge.Options>;
  gauge: Some<gauge.Options>;
  heatmap: Some<heatmap.Options>;
  piechart: Some<piechart.Options>;
  stat: Some<stat.Options>;
  table: Some<TableOptions>;
  text: Some<text.Options>;
  timeseries: Some<timeseries.Options>;
}
export interface Custom {
  bargauge: {};
  gauge: {};
  heatmap: Some<heatmap.FieldConfig>;
  piechart: Some<piechart.FieldConfig>;
  stat: {};
  table: Some<table.FieldConfig>;
  text: {};
  timeseries: Some<timeseries.FieldConfig>;
}
