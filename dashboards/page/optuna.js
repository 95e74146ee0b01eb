// Captions below the headings of the Optuna dashboard's panels, and scales that are logarithmic at first.
"use strict";

(() => {
  let study = null;
  let shown = { captions: {}, logarithmic: false };

  const load = async () => {
    const [, number] = location.pathname.match(/\/studies\/(\d+)/) || [];
    if (number === study) return;
    study = number;
    shown = { captions: {}, logarithmic: false };
    if (number === undefined) return;
    try {
      const answer = await fetch(`/shown/${number}`);
      const data = await answer.json();
      if (number === study) shown = data;
    } catch {
      study = null; // the server may be busy: ask again with the next change of the page
    }
    complete();
  };

  const complete = () => {
    for (const heading of document.querySelectorAll("h6")) {
      const start = Object.keys(shown.captions).find((key) => heading.textContent.startsWith(key));
      const below = heading.nextElementSibling;
      const caption = below && below.className === "shown-caption" ? below : null;
      const text = start === undefined ? "" : shown.captions[start];
      if (caption && caption.textContent !== text) caption.remove();
      if (text && !(caption && caption.textContent === text)) {
        const added = document.createElement("p");
        added.className = "shown-caption";
        added.style.margin = "-0.5em 0 0.5em";
        added.textContent = text;
        heading.after(added);
      }
    }
    if (!shown.logarithmic) return;
    for (const choice of document.querySelectorAll("label, fieldset")) {
      if (choice.dataset.preset || !choice.textContent.startsWith("Log y scale")) continue;
      choice.dataset.preset = "done"; // once: whoever switches it off has it off
      const box = choice.querySelector("input[type=checkbox]");
      if (box && !box.checked) box.click();
    }
  };

  const look = () => {
    load();
    complete();
  };
  new MutationObserver(look).observe(document.documentElement, { childList: true, subtree: true });
  look();
})();
