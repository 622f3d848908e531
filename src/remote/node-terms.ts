// What the coordinator of nodes is given.

import type { Fetch, NodeAddress } from "./client.ts";
import type { Copies } from "./copies.ts";
import type { ServedInputs } from "./pointers.ts";
import type { CoordinatorTerms } from "./terms.ts";

export interface NodesOptions extends CoordinatorTerms {
  readonly nodes: readonly NodeAddress[];
  /** Sixteen random bytes in hex: what answers are bound to. */
  readonly jobId?: string;
  readonly fetch: Fetch;
  /** Instead of the constant of this name. */
  readonly carriedBytes?: number;
  /** So many nodes must give the same answer before it counts: for nodes of strangers. */
  readonly redundancy?: number;
  /** This coordinator's inputs, where nodes can fetch them. */
  readonly served?: ServedInputs;
  /** Inputs that are on a hub or in a bucket too. */
  readonly copies?: Copies;
  /** Bytes of an output, by its index in the job, changed after they were taken for final: whoever hashed them begins anew. */
  readonly changed?: (file: number) => void;
}
