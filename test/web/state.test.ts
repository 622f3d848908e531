import { describe, expect, test } from "bun:test";
import { createStore } from "../../src/web/state.ts";

describe("what the page holds", () => {
  test("a recipe on its way gives way to one that was asked for after it", async () => {
    const store = createStore();
    let seen = 0;
    store.listen(() => seen++);
    const slow = Promise.withResolvers<string>();
    const first = store.setTextFrom(slow.promise, "first.yml");
    await store.setTextFrom(Promise.resolve("second"), "second.yml");
    slow.resolve("first");
    await first;
    expect(store.get()).toMatchObject({ text: "second", file: "second.yml" });
    expect(seen).toBe(1);
  });

  test("and to one that was typed", async () => {
    const store = createStore();
    const slow = Promise.withResolvers<string>();
    const first = store.setTextFrom(slow.promise, "first.yml");
    store.setText("typed", "recipe.yml");
    slow.resolve("first");
    await first;
    expect(store.get()).toMatchObject({ text: "typed", file: "recipe.yml" });
  });

  test("one that never arrives changes nothing, and the caller is told", async () => {
    const store = createStore();
    store.setText("typed", "recipe.yml");
    const failure = await store.setTextFrom(Promise.reject(new Error("no answer")), "x.yml").catch((e: Error) => e);
    expect((failure as Error).message).toBe("no answer");
    expect(store.get().text).toBe("typed");
  });
});
