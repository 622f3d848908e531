// AWS Lambda: docs/functions/aws-lambda.md.

import { Hono } from "hono";
import { getConnInfo, handle } from "hono/aws-lambda";
import { compileKernel } from "../src/kernel/kernel.ts";
import { createEdgeNode, edgeLimits } from "../src/remote/edge.ts";

const node = createEdgeNode({
  module: compileKernel(),
  runtime: `lambda ${process.version}`,
  limits: edgeLimits.awsLambda,
  env: process.env,
  fetch: (...all) => fetch(...all),
  now: () => performance.now(),
  today: () => Date.now(),
});

export const handler = handle(new Hono().all("*", (c) => node(c.req.raw, getConnInfo(c).remote.address ?? null)));
