"use strict";
// The page reads whole without this. It keeps the figures fresh and lets people roll back.
(() => {
  const every = 5000;
  const byId = (id) => document.getElementById(id);
  let key = "";
  let lastState = document.querySelector("[data-state]").textContent;

  // The server words every section once, for first view and refresh alike.
  async function refresh() {
    try {
      const reply = await fetch("/", { cache: "no-store" });
      if (!reply.ok) throw new Error("the service answered " + reply.status);
      const fresh = new DOMParser().parseFromString(await reply.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live]")) {
        const next = fresh.getElementById(part.id);
        if (next && next.innerHTML !== part.innerHTML) part.replaceChildren(...next.childNodes);
      }
      options(fresh);
      const state = document.querySelector("[data-state]").textContent;
      if (state !== lastState) byId("said").textContent = state;
      lastState = state;
      document.title = fresh.title;
    } catch (error) {
      const words = "Not reached: figures are old (" + error.message + ")";
      if (byId("fresh").textContent !== words) {
        byId("fresh").textContent = words;
        byId("said").textContent = words;
      }
    }
  }

  function options(fresh) {
    const select = byId("who");
    const next = fresh.getElementById("who");
    if (!next || next.innerHTML === select.innerHTML || byId("sure").open) return;
    const chosen = select.value;
    select.replaceChildren(...next.childNodes);
    if ([...select.options].some((o) => o.value === chosen)) select.value = chosen;
    byId("who-now").textContent = fresh.getElementById("who-now").textContent;
    byId("ask").disabled = select.options.length === 0;
  }

  function say(text, good) {
    const outcome = byId("outcome");
    outcome.className = good ? "good" : "bad";
    outcome.textContent = text;
  }

  function missing(field, words) {
    field.setAttribute("aria-invalid", "true");
    field.focus();
    say(words, false);
  }

  byId("back").addEventListener("submit", (event) => {
    event.preventDefault();
    const reason = byId("reason");
    const chosen = byId("who").selectedOptions[0];
    reason.removeAttribute("aria-invalid");
    byId("key").removeAttribute("aria-invalid");
    say("", true);
    if (!reason.value.trim()) return missing(reason, "Say why: the ledger keeps the reason.");
    key = byId("key").value.trim();
    byId("sure-p").textContent = chosen.textContent + ". " + chosen.dataset.then;
    byId("sure").showModal();
  });

  byId("no").addEventListener("click", () => byId("sure").close());

  byId("yes").addEventListener("click", async () => {
    byId("sure").close();
    const headers = { "Content-Type": "application/json" };
    if (key) headers.Authorization = "Bearer " + key;
    const body = { model_version: byId("who").value, reason: byId("reason").value.trim() };
    say("Rolling back …", true);
    try {
      const reply = await fetch("/releases/rollback", {
        method: "POST", headers, body: JSON.stringify(body),
      });
      const told = await reply.json();
      if (!reply.ok) {
        if (reply.status === 401 || reply.status === 403) byId("key").setAttribute("aria-invalid", "true");
        say("Not rolled back: " + (told.detail || reply.status) + ". " + (told.remedy || ""), false);
        return;
      }
      const steps = told.events.map((e) => e.model_version + " is " + e.state.replace("_", " "));
      say("Done: " + steps.join(", ") + ".", true);
      byId("reason").value = "";
      await refresh();
    } catch (error) {
      say("Not known whether it was rolled back (" + error.message + "): look at the history below.", false);
    }
  });

  byId("back").hidden = false;
  byId("ask").disabled = byId("who").options.length === 0;
  setInterval(() => { if (!document.hidden) refresh(); }, every);
})();
