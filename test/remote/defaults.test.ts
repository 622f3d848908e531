// The defaults that are promised for nodes and their coordinators. Each has a test of its own where it is kept.

import { expect, test } from "bun:test";
import { heartbeatMs, leaseMs } from "../../src/remote/attempts.ts";
import { auditBlocks, wholeAudits } from "../../src/remote/audit.ts";
import { nodeLimits } from "../../src/remote/limits.ts";
import { stragglerFactor } from "../../src/remote/pace.ts";
import { tokenBytes } from "../../src/remote/sign.ts";
import { maxAttempts } from "../../src/remote/terms.ts";

const [KiB, MiB, second] = [1024, 1024 ** 2, 1000];

test.each([
  ["bytes of a token, at least", tokenBytes, 32],
  ["a signature's time is off by", nodeLimits.clockSkewMs, 300 * second],
  ["nonces are kept", nodeLimits.nonceMs, 600 * second],
  ["failures", nodeLimits.failures, 5],
  ["within", nodeLimits.failureMs, 60 * second],
  ["Content-Length is required above", nodeLimits.unsizedBytes, MiB],
  ["a slice", nodeLimits.sliceBytes, 64 * MiB],
  ["a descriptor", nodeLimits.descriptorBytes, 256 * KiB],
  ["redirects", nodeLimits.redirects, 5],
  ["headers", nodeLimits.headersMs, 10 * second],
  ["a request", nodeLimits.requestMs, 120 * second],
  ["bytes a second", nodeLimits.bodyRate, 64 * KiB],
  ["after", nodeLimits.slowAfterMs, 10 * second],
  ["connections", nodeLimits.connections, 64],
  ["tasks that wait, for each that runs", nodeLimits.queueFactor, 2],
  ["a lease", leaseMs, 30 * second],
  ["a heartbeat", heartbeatMs, 10 * second],
  ["attempts", maxAttempts, 4],
  ["a second copy at so many times the median", stragglerFactor, 2],
  ["blocks of a slice that are looked at", auditBlocks, 4],
  ["first slices that are computed again", wholeAudits, 2],
])("%s: %d", (_, is, promised) => {
  expect(is).toBe(promised);
});
