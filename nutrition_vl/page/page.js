// Paste anywhere gives the photo to the Photo tab; results are announced to screen readers.
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])].filter((f) => f.type.startsWith("image/"));
  const input = document.querySelector("#photo-in input[type=file]");
  if (!files.length || !input) return;
  event.preventDefault();
  const transfer = new DataTransfer();
  transfer.items.add(files[0]);
  input.files = transfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});
new MutationObserver(() => {
  for (const line of document.querySelectorAll(".live:not([aria-live])"))
    line.setAttribute("aria-live", "polite");
}).observe(document.documentElement, { childList: true, subtree: true });
// Gradio names its empty boxes without a role, which screen readers then ignore.
new MutationObserver(() => {
  for (const box of document.querySelectorAll(".empty[aria-label]:not([role])"))
    box.setAttribute("role", "img");
}).observe(document.documentElement, { childList: true, subtree: true });
