// Comfort only: everything on the page can be read without it.
(() => {
  const form = document.querySelector(".tools");
  if (!form) return;
  const samples = [...document.querySelectorAll(".sample")];
  const texts = samples.map((sample) => sample.textContent.toLowerCase());
  const say = form.querySelector("output");

  function apply() {
    const wanted = form.elements.text.value.trim().toLowerCase();
    const kind = form.elements.kind.value;
    let shown = 0;
    samples.forEach((sample, i) => {
      const fits = (!wanted || texts[i].includes(wanted)) && (!kind || sample.dataset[kind] === "1");
      sample.hidden = !fits;
      shown += fits ? 1 : 0;
    });
    const off = new Set([...form.querySelectorAll("[name=arm]:not(:checked)")].map((box) => box.value));
    document.querySelectorAll(".out").forEach((out) => { out.hidden = off.has(out.dataset.arm); });
    say.textContent = shown === samples.length ? "" : `${shown} of ${samples.length} shown`;
  }

  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.elements.all.addEventListener("click", () => {
    const open = samples.some((sample) => !sample.hidden && !sample.open);
    samples.forEach((sample) => { if (!sample.hidden) sample.open = open; });
    form.elements.all.textContent = open ? "Close all" : "Open all";
  });
  form.hidden = false;
})();
