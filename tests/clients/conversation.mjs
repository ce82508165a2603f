// One user's walk in TypeScript's SDK, for any generation of it: `node conversation.mjs URL KEY` prints what it saw.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [url, key] = process.argv.slice(2);
// The SDK is found from the folder this is started in: that is the generation under test.
const require = createRequire(`${process.cwd()}/`);
const { default: Anthropic } = await import(pathToFileURL(require.resolve("@anthropic-ai/sdk")).href);
const client = new Anthropic({ apiKey: key, baseURL: url });
const beta = client.beta;

async function collect(list, pick) {
  const found = [];
  for await (const item of list) found.push(pick(item));
  return found;
}

let agent = await beta.agents.create({ name: "old", model: "m", metadata: { runtime: "scripted" } });
agent = await beta.agents.update(agent.id, { version: agent.version, name: "older" });
const [environment] = await collect(beta.environments.list(), (item) => item);
const session = await beta.sessions.create({ agent: agent.id, environment_id: environment.id, title: "t" });
const seen = [];
const events = await beta.sessions.events.stream(session.id);
const message = { type: "user.message", content: [{ type: "text", text: "Hello, there!" }] };
await beta.sessions.events.send(session.id, { events: [message] });
for await (const event of events) {
  seen.push(event.type);
  if (event.type === "session.status_idle") break;
}
const listed = await collect(beta.sessions.events.list(session.id, { limit: 2 }), (event) => event.type);
const versions = await collect(beta.agents.versions.list(agent.id, { limit: 1 }), (version) => version.version);
let refused = "";
try {
  await beta.sessions.retrieve("sesn_unknown");
} catch (error) {
  if (!(error instanceof Anthropic.NotFoundError)) throw error;
  refused = error.error.error.type;
}
const archived = (await beta.sessions.archive(session.id)).archived_at !== null;
const { version } = JSON.parse(readFileSync("node_modules/@anthropic-ai/sdk/package.json"));
console.log(JSON.stringify({ version, seen, listed, versions, refused, archived }));
