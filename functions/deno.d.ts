// What functions/deno-deploy.ts uses of Deno.
declare const Deno: {
  readonly version: { readonly deno: string };
  readonly env: { toObject(): Record<string, string> };
  serve(
    handler: (
      request: Request,
      info: { readonly remoteAddr: { readonly hostname: string } },
    ) => Response | Promise<Response>,
  ): void;
};
