// A game server with the published Node client: a whole life, over a restart of the agent. The watch is also taken as a
// WebSocket, by the `ws` package.

const assert = require("node:assert");
const readline = require("node:readline");
const AgonesSDK = require("@google-cloud/agones-sdk");
const WebSocket = require("ws");

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function ask(what) {
	console.log(`do ${what}`);
	assert.strictEqual((await lines.next()).value, "done");
}

// What a watcher has been told, in order.
class Seen {
	constructor() {
		this.states = [];
		this.wake = () => {};
	}

	tell(state) {
		if (this.states.at(-1) !== state) {
			this.states.push(state);
		}
		this.wake();
	}

	async until(state) {
		const deadline = Date.now() + 20000;
		while (this.states.at(-1) !== state) {
			assert(Date.now() < deadline, `never ${state}: ${this.states}`);
			await Promise.race([new Promise((resolve) => (this.wake = resolve)), wait(200)]);
		}
	}
}

function watch(sdk) {
	const seen = new Seen();
	sdk.watchGameServer(
		(server) => seen.tell(server.status.state),
		() => seen.tell("cut"),
	);
	return seen;
}

async function socket() {
	const seen = new Seen();
	const url = `ws://localhost:${process.env.AGONES_SDK_HTTP_PORT}/watch/gameserver`;
	const client = new WebSocket(url);
	client.on("message", (data, isBinary) => {
		assert(!isBinary);
		seen.tell(JSON.parse(data.toString()).result.status.state);
	});
	client.on("close", () => seen.tell("closed"));
	client.on("error", (error) => console.log(`WebSocket: ${error}`));
	await new Promise((resolve) => client.once("open", resolve));
	const ponged = new Promise((resolve) => client.once("pong", resolve));
	client.ping("are you there");
	assert.strictEqual((await ponged).toString(), "are you there");
	client.send("a message that nobody wants".repeat(100));
	return { client, seen };
}

async function state(sdk) {
	return (await sdk.getGameServer()).status.state;
}

async function main() {
	const sdk = new AgonesSDK();
	await sdk.connect();
	assert(["Starting", "Scheduled"].includes(await state(sdk)));
	const seen = watch(sdk);
	const messages = await socket();
	await sdk.ready();
	await seen.until("Ready");
	await messages.seen.until("Ready");
	assert.deepStrictEqual(seen.states.slice(-2), ["RequestReady", "Ready"]);
	assert.deepStrictEqual(messages.seen.states.slice(-2), ["RequestReady", "Ready"]);
	await ask("joinable");
	console.log("ready, and joinable");

	const beating = setInterval(() => sdk.health(() => {}), 200);
	await sdk.setLabel("mode", "ctf");
	await sdk.setAnnotation("note", "any text: ü");
	await sdk.reserve(1);
	await seen.until("Reserved");
	await seen.until("Ready");
	await sdk.allocate();
	await seen.until("Allocated");
	await messages.seen.until("Allocated");
	const server = await sdk.getGameServer();
	assert.deepStrictEqual(server.objectMeta.labelsMap, [["agones.dev/sdk-mode", "ctf"]]);
	assert(server.objectMeta.annotationsMap.some(([key, value]) => key === "agones.dev/sdk-note" && value.endsWith("ü")));
	assert.deepStrictEqual(server.status.portsList, [{ name: "default", port: 7777 }]);
	await assert.rejects(sdk.setLabel("a/b", "x"), { code: 3 });
	await assert.rejects(sdk.alpha.playerConnect("p"), { code: 12 });
	await assert.rejects(sdk.beta.getCounterCount("c"), { code: 12 });
	await messages.client.close();
	await messages.seen.until("closed");
	console.log("labelled, reserved, allocated");

	await ask("restart");
	await seen.until("cut");
	// The client goes on with its old stream of heartbeats, which goes nowhere. That is not the game's fault.
	const deadline = Date.now() + 5000;
	let told = "";
	while (Date.now() < deadline) {
		try {
			told = await state(sdk);
			assert.strictEqual(told, "Allocated");
		} catch (error) {
			assert.strictEqual(error.code, 14, error);
		}
		await wait(100);
	}
	assert.strictEqual(told, "Allocated");
	assert.deepStrictEqual((await sdk.getGameServer()).objectMeta.labelsMap, [["agones.dev/sdk-mode", "ctf"]]);
	console.log("as before, over a restart of the agent");

	const again = watch(sdk);
	await again.until("Allocated");
	await sdk.shutdown();
	await again.until("Shutdown");
	clearInterval(beating);
	sdk.close();
	process.exit(0);
}

main().catch((error) => {
	console.log(error.stack);
	process.exit(1);
});
