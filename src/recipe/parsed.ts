// What a recipe is once it has been read: plain data with the places in the text that later messages need.

import type { Diagnostic, Position } from "../errors.ts";
import type { MethodSpec } from "./catalogue.ts";
import type { ModelReference } from "./model.ts";
import type { dtypes } from "./schema.ts";
import type { Settings } from "./settings.ts";
import type { TokenizerChoice } from "./tokenizer.ts";
import type { MapNode } from "./yaml.ts";

export type RecipeDtype = (typeof dtypes)[number];

export interface ParsedSource {
  /** Index into `models`. */
  readonly model: number;
  /** Layers [first, end) of the model; null takes all (the `models:` form). */
  readonly layerRange: readonly [first: number, end: number] | null;
  readonly parameters: Settings;
  readonly at: Position;
  readonly rangeAt?: Position;
}

export interface ParsedSlice {
  readonly sources: readonly ParsedSource[];
  /** The slice's own base_model, else the recipe's: index into `models`. */
  readonly base: number | null;
  readonly parameters: Settings;
  readonly at: Position;
}

/** A part of the model that is merged by itself. */
export interface ParsedModule {
  readonly name: string | null;
  /** `models`: one slice over all layers. */
  readonly form: "models" | "slices";
  /** Its slices are [first, end) of the recipe's. */
  readonly first: number;
  readonly end: number;
  /** They stand between the slice's and the top's. */
  readonly parameters: Settings;
  readonly at: Position;
}

export interface ParsedRecipe {
  readonly file: string;
  /** In a file of several recipes, the name by which later ones use this one's output as a model. */
  readonly name?: string;
  readonly method: string;
  readonly methodAt: Position;
  /** Distinct, by first appearance in the sources; bases that are not among them come last. */
  readonly models: readonly ModelReference[];
  /** Index of the recipe's base_model. */
  readonly base: number | null;
  readonly dtype?: RecipeDtype;
  readonly outDtype?: RecipeDtype;
  readonly seed?: bigint;
  readonly chatTemplate?: string;
  readonly tokenizer?: TokenizerChoice;
  /** Of all modules, one after the other. */
  readonly slices: readonly ParsedSlice[];
  /** One without a name unless the recipe was written under `modules:`. */
  readonly modules: readonly ParsedModule[];
  readonly parameters: Settings;
  readonly warnings: readonly Diagnostic[];
}

/** The part of a recipe that says what is merged with what. */
export type Layout = Pick<ParsedRecipe, "slices" | "modules" | "parameters" | "base">;

/** What the readers of one document share. */
export interface Reading {
  readonly root: MapNode;
  readonly method: MethodSpec | undefined;
  readonly error: (at: Position, message: string, hint?: string, kind?: Diagnostic["kind"]) => void;
  readonly warn: (at: Position, message: string, hint?: string) => void;
  readonly models: ModelReference[];
}
