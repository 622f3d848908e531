// The addresses of a host where no resolver can be asked but by https: the JSON of RFC 8484's services, as Cloudflare and Google
// give it.

const service = "https://cloudflare-dns.com/dns-query";
const types = { A: 1, AAAA: 28 } as const;

interface Answer {
  readonly Answer?: readonly { readonly type: number; readonly data: string }[];
}

/** All addresses of both kinds; none when the service does not know the host. Rejects when it does not answer. */
export function resolveOverHttps(get: (url: string, init: RequestInit) => Promise<Response>) {
  return async (host: string): Promise<string[]> => {
    const found = await Promise.all(
      Object.entries(types).map(async ([type, number]) => {
        const url = `${service}?name=${encodeURIComponent(host)}&type=${type}`;
        const response = await get(url, { headers: { accept: "application/dns-json" }, redirect: "error" });
        if (!response.ok) throw new Error(`status ${response.status}`);
        const { Answer: answers = [] } = (await response.json()) as Answer;
        return answers.filter((a) => a.type === number).map((a) => a.data);
      }),
    );
    return found.flat();
  };
}
