/** A byte address in the memory of a kernel. */
export type Pointer = number;
