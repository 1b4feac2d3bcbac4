"use strict";
// The page works without this: it renews what changes, without a reload.
(() => {
  const main = document.querySelector("main");
  let failed = 0;
  const renew = async () => {
    if (document.hidden || main.contains(document.activeElement)) return;
    try {
      const answer = await fetch("/?part=main", { credentials: "same-origin" });
      if (!answer.ok) throw new Error(String(answer.status));
      main.innerHTML = await answer.text();
      failed = 0;
      main.dataset.renewed = String(Number(main.dataset.renewed || 0) + 1);
    } catch {
      failed += 1;
      if (failed === 3) document.body.classList.add("stale");
      return;
    }
    document.body.classList.remove("stale");
  };
  setInterval(renew, 5000);
  document.addEventListener("visibilitychange", renew);
})();
