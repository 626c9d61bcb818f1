/* A dialogue, line by line: what both ends make of it. */

/* The lines of a script (see `smtp_proto.testing.Script`) or of a log: by whom, the octets, how to show it. */
function parse(text) {
  return text.split("\n").flatMap((written, index) => {
    const line = written.replace(/^[ \t\r]+|[ \t\r]+$/g, "");
    return line ? translate(line).map((one) => parseLine(one, index + 1)) : [];
  });
}

const ESCAPE = /\\(?:\\|x(..))/g;

function parseLine(line, number) {
  if (line === "<starttls>") return { by: null, octets: "", line };
  const match = /^([CS]):(?: (.*))?$/.exec(line);
  const text = /^((?:[^\\]|\\\\|\\x[0-9A-Fa-f]{2})*?)(\\)?$/.exec(match?.[2] ?? "");
  const saysNothing = text?.[2] && !text[1];
  if (!match || !text || saysNothing) throw new Error(`line ${number} is none of a dialogue: ${line}`);
  const by = match[1] === "C" ? "client" : "server";
  if (match[2] === "<close>") return { by, octets: "", line };
  const unescape = (_, code) => String.fromCharCode(parseInt(code ?? "5c", 16));
  const octets = inUTF8(text[1]).replace(ESCAPE, unescape);
  return { by, octets: octets + (text[2] ? "" : "\r\n"), line };
}

function inUTF8(text) {
  return text.replace(/[^\0-\x7f]/gu, (one) => String.fromCharCode(...new TextEncoder().encode(one)));
}

/* What proves who somebody is, taken out. */
class Hider {
  constructor() {
    this.isExchanging = false;
  }

  hide({ by, octets, line }) {
    if (!by || !octets || line.length < 4) return line;
    const [side, text] = [line.slice(0, 3), line.slice(3)];
    return side + (by === "client" ? this.client(text) : this.server(text));
  }

  client(text) {
    if (this.isExchanging) return text === "*" ? text : "<hidden>";
    const match = /^(AUTH +[^ ]+)( +.+)?$/i.exec(text);
    this.isExchanging = match !== null;
    return match?.[2] ? `${match[1]} <hidden>` : text;
  }

  server(text) {
    const isChallenge = this.isExchanging && text.startsWith("334");
    this.isExchanging = isChallenge;
    return isChallenge ? "334 <hidden>" : text;
  }
}

/* What an end hears; what it raises then is the fault of the other. */
function* events(end) {
  let event;
  try {
    while ((event = end.next()) !== null) yield event;
  } catch (exc) {
    end.fail();
    throw Object.assign(exc, { isRemote: true });
  }
}

function* clientHears(client, { by, octets }) {
  if (by === "client") return client.say(octets);
  if (by) client.receive(octets);
  else client.startTLS();
  yield* events(client);
}

function* serverHears(server, { by, octets }) {
  if (by === "server") yield* server.say(octets);
  else if (by) server.receive(octets);
  else server.startTLS();
  yield* events(server);
}

function nameReply({ type, code, to, recipient }) {
  return `${type} ${code}${to ? ` to ${to.kind}` : ""}${recipient === undefined ? "" : ` for ${recipient}`}`;
}

function nameCommand({ kind, reply, refusal: why }) {
  if (kind === "MalformedCommand") return `${kind}: ${reply}`;
  return why ? `${kind}, to be refused: ${why}` : kind;
}

/* What one end makes of a line. After an error it is not asked any more. */
class Walker {
  constructor(end, hears, nameEvent, nameError) {
    Object.assign(this, { end, hears, nameEvent, nameError, isOver: false });
  }

  step(line) {
    const heard = [];
    const asked = !this.isOver;
    let error = null;
    if (asked) {
      try {
        for (const event of this.hears(this.end, line)) {
          const name = this.nameEvent(event);
          if (name !== "MessageData" || heard.at(-1) !== name) heard.push(name);
        }
      } catch (exc) {
        if (!(exc instanceof Refusal)) throw exc;
        this.isOver = true;
        error = this.nameError(exc);
      }
    }
    const { confirmed: state, state: ahead, outstanding } = this.end;
    return { state, ahead, outstanding, heard, error, asked, features: [...this.end.features.keys()] };
  }
}

function nameError({ message, isRemote }) {
  return `${isRemote ? "Remote" : "Local"}ProtocolError: ${message}`;
}

function nameServerError(exc) {
  return nameError(exc) + (exc.isRemote ? `; the reply to send: ${exc.reply}` : "");
}

/* All steps of a dialogue. */
function walk(text, lmtp) {
  const client = new Walker(new Client(lmtp), clientHears, nameReply, nameError);
  const server = new Walker(new Server(lmtp), serverHears, nameCommand, nameServerError);
  const hider = new Hider();
  return parse(text).map((line) => ({
    line: hider.hide(line),
    client: client.step(line),
    server: server.step(line),
  }));
}
