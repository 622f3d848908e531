// Checkpoints that are programs. Reading one runs it, so Braid does not.

export const pickleEndings = [".bin", ".pt", ".pth", ".ckpt"] as const;

/** The command that turns a folder with pickles into one with safetensors. */
export function pickleHint(path: string): string {
  const plain = /^[\w./@:+ -]+$/.test(path) ? path : "FOLDER";
  const python =
    "from transformers import AutoModelForCausalLM as M; " +
    `M.from_pretrained("${plain}", dtype="auto").save_pretrained("${plain}-safetensors")`;
  return `Convert it where you trust it: python -c '${python}', then copy the tokenizer files.`;
}
