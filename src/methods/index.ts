// The table of methods. A new one is a file beside this and a line here.

import type { Catalogue, MethodSpec } from "../recipe/catalogue.ts";
import { arceeFusion } from "./arcee-fusion.ts";
import { breadcrumbs } from "./breadcrumbs.ts";
import { breadcrumbsTies } from "./breadcrumbs-ties.ts";
import { consensusTa, consensusTies } from "./consensus.ts";
import { dareLinear } from "./dare-linear.ts";
import { dareSlerp } from "./dare-slerp.ts";
import { dareTies } from "./dare-ties.ts";
import { della } from "./della.ts";
import { dellaLinear } from "./della-linear.ts";
import { emr } from "./emr.ts";
import { free } from "./free.ts";
import { isoC } from "./iso-c.ts";
import { isoCts } from "./iso-cts.ts";
import { karcher } from "./karcher.ts";
import { linear } from "./linear.ts";
import { magmax } from "./magmax.ts";
import { metagpt } from "./metagpt.ts";
import type { Method } from "./method.ts";
import { modelStock } from "./model-stock.ts";
import { multislerp } from "./multislerp.ts";
import { nearswap } from "./nearswap.ts";
import { nuslerp } from "./nuslerp.ts";
import { passthrough } from "./passthrough.ts";
import { ram } from "./ram.ts";
import { ramPlus } from "./ramplus-tl.ts";
import { sce } from "./sce.ts";
import { slerp } from "./slerp.ts";
import { star } from "./star.ts";
import { taskArithmetic } from "./task-arithmetic.ts";
import { ties } from "./ties.ts";
import { tsv } from "./tsv.ts";

const table: readonly Method[] = [
  linear,
  slerp,
  nearswap,
  arceeFusion,
  taskArithmetic,
  ties,
  dareLinear,
  dareTies,
  della,
  dellaLinear,
  dareSlerp,
  breadcrumbs,
  breadcrumbsTies,
  multislerp,
  karcher,
  metagpt,
  modelStock,
  nuslerp,
  passthrough,
  magmax,
  ram,
  ramPlus,
  sce,
  consensusTa,
  consensusTies,
  emr,
  star,
  tsv,
  isoC,
  isoCts,
  free,
];

export const methods: ReadonlyMap<string, Method> = new Map(table.map((m) => [m.name, m]));

/**
 * What the recipe layer is told. mergekit takes a density of 0 or above 1 and a t beyond the arc; `--compat mergekit` takes them
 * too, and its density is 1 where the recipe gives none, so that nothing drops.
 */
export function catalogue(mergekit: boolean): Catalogue {
  const all: readonly MethodSpec[] = table;
  return new Map(all.map((m) => [m.name, mergekit ? asMergekit(m) : m]));
}

function asMergekit(method: MethodSpec): MethodSpec {
  const parameters = method.parameters.map((p) => {
    if (p.name === "density") {
      const { min: _min, max: _max, exclusiveMin: _exclusive, ...rest } = p;
      return { ...rest, default: 1 };
    }
    if (p.name === "t" || p.name === "select_topk") {
      const { min: _min, max: _max, exclusiveMin: _exclusive, ...rest } = p;
      return rest;
    }
    return p;
  });
  return { ...method, parameters };
}
