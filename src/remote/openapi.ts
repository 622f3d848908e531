// The node's interface as an OpenAPI description, beside the routes that it describes; a test compares the two.

import type { NodeLimits } from "./limits.ts";
import { frameType, headers, protocol, routes } from "./wire.ts";

const refusal = (description: string) => ({
  description,
  content: { "application/json": { schema: { $ref: "#/components/schemas/Refusal" } } },
});

const signed = Object.entries(headers).map(([name, header]) => ({
  name: header,
  in: "header",
  required: ["protocol", "kernel", "job", "lease", "hash"].includes(name),
  schema: { type: "string" },
}));

const task = (summary: string, limits: NodeLimits) => ({
  summary,
  parameters: signed,
  requestBody: {
    required: true,
    description: `A frame (docs/protocol.md): a descriptor of at most ${limits.descriptorBytes} bytes and at most ${limits.sliceBytes} bytes of inputs.`,
    content: { [frameType]: { schema: { type: "string", format: "binary" } } },
  },
  responses: {
    200: {
      description:
        "The receipt and, of a slice, its bytes, as a frame; its SHA-256 and, with a token, its signature are headers.",
      content: { [frameType]: { schema: { type: "string", format: "binary" } } },
    },
    400: refusal("The body is damaged, or has another length or hash than the headers say."),
    401: refusal("The request is not signed, or wrongly, or was made before."),
    403: refusal("A locator names a path or an address that this node may not read."),
    408: refusal("The headers or the body come too slowly."),
    409: refusal("The node has other kernels or speaks another version, or a file has changed."),
    411: refusal(`A body of more than ${limits.unsizedBytes} bytes without Content-Length.`),
    413: refusal("The task has more bytes than the limit."),
    415: refusal("Another content type, or a content encoding."),
    422: refusal("The task makes no sense to this node."),
    429: refusal("Too many refused signatures; Retry-After says how long."),
    431: refusal(`Headers of more than ${limits.headerBytes} bytes or ${limits.headers} lines.`),
    502: refusal("An input could not be read."),
    503: refusal("Busy, or about to end; Retry-After says how long."),
  },
});

export function openApi(version: string, limits: NodeLimits) {
  const json = (description: string) => ({ 200: { description, content: { "application/json": {} } } });
  return {
    openapi: "3.1.0",
    info: {
      title: "Braid node",
      version,
      description: `Protocol ${protocol}: runs slices of merges. See docs/protocol.md.`,
    },
    paths: {
      [routes.health]: { get: { summary: "Whether the node is up.", responses: json("It is.") } },
      [routes.about]: {
        get: {
          summary: "Version, runtime, cores, the SHA-256 of the kernels, and the limits.",
          responses: { ...json("What the node is."), 401: refusal("The node has a token.") },
        },
      },
      [routes.survey]: { post: task("Gather a statistic from a slice.", limits) },
      [routes.slice]: { post: task("Merge a slice.", limits) },
      [routes.openapi]: { get: { summary: "This description.", responses: json("It.") } },
    },
    components: {
      schemas: {
        Refusal: {
          type: "object",
          required: ["error"],
          properties: {
            error: {
              type: "object",
              required: ["kind", "message"],
              properties: { kind: { type: "string" }, message: { type: "string" } },
            },
          },
        },
      },
    },
  };
}
