// Deno Deploy: docs/functions/deno-deploy.md.

import { compileKernel } from "../src/kernel/kernel.ts";
import { createEdgeNode, edgeLimits } from "../src/remote/edge.ts";

const node = createEdgeNode({
  module: compileKernel(),
  runtime: `deno ${Deno.version.deno}`,
  limits: edgeLimits.denoDeploy,
  env: Deno.env.toObject(),
  fetch: (...all) => fetch(...all),
  now: () => performance.now(),
  today: () => Date.now(),
});

Deno.serve((request, { remoteAddr }) => node(request, remoteAddr.hostname));
