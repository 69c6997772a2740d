// Shows what /live tells. Everything that came from outside is written as text, never as markup.
"use strict";

const SHOWN_ACCOUNTS = 100;
const SHOWN_EVENTS = 12;
const PHRASES = { Opened: "opened", Deposited: "deposited", Withdrawn: "withdrew" };
const money = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const rows = new Map();
const place = (id) => document.getElementById(id);

function cell(row, text, className = "") {
  const made = row.insertCell();
  made.textContent = text;
  made.className = className;
}

function showAccount(account, changed) {
  rows.get(account.id)?.remove();
  const row = document.createElement("tr");
  cell(row, account.id);
  cell(row, account.owner);
  cell(row, money.format(account.balance / 100), "number");
  cell(row, String(account.sequence), "number");
  cell(row, clock.format(new Date(account.changed)));
  if (changed) row.className = "changed";
  rows.set(account.id, row);
  place("accounts").prepend(row);
  while (place("accounts").rows.length > SHOWN_ACCOUNTS) {
    const last = place("accounts").lastElementChild;
    for (const [id, shown] of rows) if (shown === last) rows.delete(id);
    last.remove();
  }
}

function showTotal(total) {
  place("total").textContent = total === 0 ? "no accounts yet" : total === 1 ? "1 account" : `${total.toLocaleString("en")} accounts`;
  place("empty").hidden = total > 0;
}

function showEvent(change) {
  const item = document.createElement("li");
  if (change.amount !== undefined) {
    const amount = document.createElement("span");
    amount.className = "number";
    amount.textContent = (change.event === "Withdrawn" ? "\u2212" : "+") + money.format(change.amount / 100);
    item.append(amount);
  }
  const who = document.createElement("strong");
  who.textContent = change.id;
  item.append(who, ` ${PHRASES[change.event] ?? change.event}`);
  place("events").prepend(item);
  while (place("events").children.length > SHOWN_EVENTS) place("events").lastElementChild.remove();
}

function showConnection(state, text) {
  place("connection").dataset.state = state;
  place("connection").textContent = text;
}

function listen() {
  const source = new EventSource("/live");
  source.addEventListener("open", () => showConnection("live", "live"));
  source.addEventListener("error", () => {
    showConnection("lost", "the connection is lost; trying again");
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 3000); // an answer that was none: the browser gives up
  });
  source.addEventListener("accounts", (message) => {
    const { total, accounts, recent } = JSON.parse(message.data);
    place("accounts").replaceChildren();
    place("events").replaceChildren();
    rows.clear();
    accounts.forEach((account) => showAccount(account, false));
    recent.forEach(showEvent);
    showTotal(total);
  });
  source.addEventListener("change", (message) => {
    const change = JSON.parse(message.data);
    showAccount(change, true);
    showEvent(change);
    showTotal(change.total);
  });
}

function fieldsOf(action, form) {
  if (action === "open") return { owner: form.get("owner").trim() };
  const [whole, part = ""] = form.get("amount").trim().split(".");
  return { amount: Number(whole) * 100 + Number(part.padEnd(2, "0")) };
}

// One key for one command: sent again under it, after no answer came, it takes effect once.
async function send(id, action, fields) {
  const key = crypto.randomUUID();
  for (let left = 3; ; left--) {
    const answer = await fetch(`/accounts/${encodeURIComponent(id)}/${action}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": key },
      body: JSON.stringify(fields),
    });
    if (answer.status !== 503 || left === 0) return [answer.ok, await answer.json()];
    await new Promise((wake) => setTimeout(wake, 1000 * Number(answer.headers.get("Retry-After") ?? 1)));
  }
}

function told(ok, body) {
  if (ok) return `done: event ${body.sequence} of ${body.id}`;
  const details = Object.entries(body.details ?? {}).map(([name, value]) =>
    `${name} ${name === "balance" ? money.format(value / 100) : value}`);
  return [body.reason ?? body.error, ...details].join(", ");
}

place("send").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  const form = new FormData(submitted.target);
  const action = submitted.submitter.value;
  let ok = false, text;
  try {
    const [went, body] = await send(form.get("id"), action, fieldsOf(action, form));
    [ok, text] = [went, told(went, body)];
  } catch (error) {
    text = `no answer: ${error.message}`;
  }
  place("answer").dataset.state = ok ? "good" : "bad";
  place("answer").textContent = text;
});

listen();
