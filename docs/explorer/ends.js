/* Both ends of a connection, as the core has them: what may be said, what is heard, where it leads. */

const OPENING = { kind: "Opening" };
const NOT_READING = ["closed", "failed", "tls"];

function outcomes(state, kind) {
  const found = TABLES.table[state][kind];
  return found && Object.keys(found).length ? found : (TABLES.late[kind] ?? {});
}

function maySay(state, kind) {
  return Object.hasOwn(TABLES.table[state], kind);
}

function afterSaying(state, kind) {
  return outcomes(state, kind)[0] ?? state;
}

function afterAnswer(state, kind, code) {
  if (code === 421) return "closed";
  const row = TABLES.table[state][kind] ?? TABLES.late[kind] ?? {};
  return row[code] ?? row[Math.floor(code / 100)] ?? state;
}

function afterSuccess(state, kind) {
  const said = afterSaying(state, kind);
  const row = outcomes(said, kind);
  return row[354] ?? row[220] ?? row[2] ?? said;
}

function called(command) {
  return command.kind === "Opening" ? "the opening" : command.kind;
}

/* What the state alone cannot tell, for both ends. */
const CHECKS = {
  Ehlo: (end, command) => { if (end.lmtp) throw refusal("smtpOnly", command); },
  Helo: (end, command) => { if (end.lmtp) throw refusal("smtpOnly", command); },
  Lhlo: (end) => { if (!end.lmtp) throw refusal("lmtpOnly"); },
  StartTLS: (end) => {
    if (end.tls) throw refusal("tlsActive");
    checkOffer(end, "STARTTLS");
  },
  Auth: (end, { mechanism }) => {
    if (end.authenticated) throw refusal("authenticated");
    checkOffer(end, "AUTH");
    if (!end.features.get("AUTH").includes(mechanism)) throw refusal("mechanism", { mechanism });
  },
  Mail: (end, command) => {
    checkParameters(end, command);
    if (command.parameters.has("REQUIRETLS") && !end.tls) throw refusal("requireTLS");
    checkPath(command, command);
  },
  Rcpt: (end, command) => {
    checkParameters(end, command);
    checkPath(command, end.mailNow);
  },
  Data: (end) => {
    const isBinary = end.mailNow?.parameters.get("BODY") === "BINARYMIME";
    if (end.features.has("BINARYMIME") && isBinary) throw refusal("binary");
  },
  Bdat: (end) => checkOffer(end, "CHUNKING"),
  Burl: (end, { last }) => {
    checkOffer(end, "BURL");
    if (!last && !end.features.has("CHUNKING")) throw refusal("burlLast");
  },
  Vrfy: (end, command) => checkQuestion(end, command),
  Expn: (end, command) => checkQuestion(end, command),
  Etrn: (end) => checkOffer(end, "ETRN"),
  XClient: (end, command) => checkAttributes(end, command),
  XForward: (end, command) => checkAttributes(end, command),
};

function checkOffer(end, keyword) {
  if (!end.features.has(keyword)) throw refusal("notOffered", { keyword });
}

function checkQuestion(end, { asksForUTF8, isASCII }) {
  if (asksForUTF8 && !end.features.has("SMTPUTF8")) throw refusal("smtputf8");
  if (!asksForUTF8 && !isASCII) throw refusal("utf8Question");
}

function checkPath({ path, isASCII }, mail) {
  if (!isASCII && mail && !mail.parameters.has("SMTPUTF8")) throw refusal("utf8Path", { path: quoted(path) });
}

function checkAttributes(end, { verb, names }) {
  checkOffer(end, verb);
  for (const name of names) {
    if (!end.features.get(verb).includes(name)) throw refusal("attribute", { verb, name });
  }
}

function checkParameters(end, { verb, parameters }) {
  for (const [name, value] of parameters) {
    const other = verb === "MAIL" ? "RCPT" : "MAIL";
    const own = TABLES.parameters[`${verb} ${name}`]?.keyword;
    const isBinary = name === "BODY" && value === "BINARYMIME";
    const keyword = own ?? (`${other} ${name}` in TABLES.parameters ? "" : name);
    if (!end.features.has(isBinary ? "BINARYMIME" : keyword)) throw refusal("parameter", { name, verb });
  }
}

class End {
  constructor(lmtp) {
    this.lmtp = lmtp;
    this.confirmed = "greeting";
    this.features = new Map();
    this.tls = false;
    this.authenticated = false;
    this.mail = null;
    this.buffer = new Buffer();
    this.said = new Buffer();
    this.replies = new ReplyReader();
    this.isAtEnd = false;
  }

  /* The MAIL of the transaction in progress. */
  get mailNow() {
    return TABLES.inTransaction.includes(this.state) ? this.mail : null;
  }

  startTLS() {
    if (this.confirmed !== "tls") throw refusal("noHandshake");
    this.confirmed = "greeted";
    this.tls = true;
    this.forget();
  }

  forget() {
    this.features = new Map();
    this.authenticated = false;
  }

  /* The other end broke the protocol. */
  fail() {}

  receive(octets) {
    this.isAtEnd = octets === "";
    this.buffer.append(octets);
  }
}

class Client extends End {
  constructor(lmtp) {
    super(lmtp);
    this.predicted = "greeting";
    this.pending = [{ command: OPENING, since: 0 }];
    this.body = null; // {missing, last} of a chunk, {} after DATA
    this.lastChunks = 0;
    this.mispredicted = false;
    this.verdicts = { forEach: lmtp, accepted: [], heard: 0, announced: lmtp };
    this.hearsEach = lmtp;
  }

  get state() {
    if (this.body && "missing" in this.body) return "chunk";
    if (this.mispredicted) this.predict();
    return this.predicted;
  }

  get outstanding() {
    return this.pending.length - this.lastChunks;
  }

  predict() {
    const kinds = this.pending.map(({ command }) => command.kind);
    this.predicted = kinds.reduce(afterSuccess, this.confirmed);
    this.mispredicted = false;
  }

  /* Say the commands that are complete with these octets. */
  say(octets) {
    this.said.append(octets);
    let command;
    while ((command = this.nextCommand()) !== null) this.send(command);
  }

  nextCommand() {
    if (this.body && "missing" in this.body) {
      const data = this.said.take(this.body.missing);
      if (data) return { kind: "MessageData", size: data.length };
      return this.body.missing ? null : { kind: "EndOfMessage" };
    }
    const line = this.said.line(false);
    if (line === null) return null;
    if (this.body) return line === "." ? { kind: "EndOfMessage" } : { kind: "MessageData" };
    return this.state === "auth" ? readResponse(line) : readCommand(line);
  }

  send(command) {
    const { kind } = command;
    if (this.body) return this.sendBody(command);
    const { state } = this;
    if (!maySay(state, kind)) throw refusal("order", { command: kind, state });
    const before = this.pending.at(-1)?.command;
    if (before && (TABLES.lastInGroup.includes(before.kind) || !this.features.has("PIPELINING"))) {
      throw refusal("wait", { command: kind, before: called(before) });
    }
    CHECKS[kind]?.(this, command);
    this.pending.push({ command, since: this.buffer.end });
    if (kind === "Bdat" || kind === "Burl") return this.beginChunk(command);
    if (kind === "Mail") {
      this.mail = command;
      if (command.parameters.has("PRDR")) this.hearsEach = true;
    }
    this.predicted = afterSuccess(state, kind);
  }

  sendBody({ kind, size }) {
    const isChunk = "missing" in this.body;
    if (kind === "EndOfMessage") {
      this.body = null;
      this.pending.push({ command: { kind }, since: this.buffer.end });
      this.predicted = afterSuccess(this.predicted, kind);
    } else if (isChunk) {
      this.body.missing -= size;
      this.endChunk();
    }
  }

  beginChunk(command) {
    this.predicted = afterSaying(this.predicted, command.kind);
    this.lastChunks += command.last;
    this.body = { missing: command.size, last: command.last };
    this.endChunk();
  }

  endChunk() {
    this.pending.at(-1).since = this.buffer.end;
    if (!this.body.missing && !this.body.last) {
      this.body = null;
      this.predicted = afterSuccess(this.predicted, "Bdat");
    }
  }

  startTLS() {
    super.startTLS();
    this.predicted = this.confirmed;
    this.mispredicted = false;
  }

  /* The next reply, or null. */
  next() {
    if (NOT_READING.includes(this.confirmed)) {
      if (this.confirmed !== "closed" && this.buffer.octets) throw refusal("behind220");
      return null;
    }
    if (!this.buffer.octets && !this.isAtEnd) return null;
    let { command: to, since } = this.pending[0] ?? { command: null, since: 0 };
    const reply = this.replies.read(this.buffer, to?.kind);
    if (!reply) return this.atEnd(to);
    const isEarly = !to || this.replies.began < since || (this.body && this.pending.length === 1);
    if (isEarly) return this.interrupted(reply);
    if (to.kind === "Bdat" || to.kind === "Burl") to = this.answerChunk(to);
    const { code } = reply;
    if (code >= 300 && code < 400 && !(code in outcomes(this.confirmed, to.kind))) {
      throw refusal("noAnswer", { code, command: called(to) });
    }
    reply.to = to;
    if (to.kind === "EndOfMessage" && (this.verdicts.forEach || code === 353) && this.isOneOfSeveral(reply)) {
      return reply;
    }
    this.pending.shift();
    this.confirmed = afterAnswer(this.confirmed, to.kind, code);
    this.learn(to, reply);
    const isSurprise = code >= 400 || (!this.pending.length && this.confirmed !== this.predicted);
    if (this.confirmed === "closed") this.close();
    else if (isSurprise) this.mispredicted = true;
    return reply;
  }

  atEnd(to) {
    if (!this.isAtEnd) return null;
    const isBetween = !to && !this.buffer.octets && !this.replies.lines.length && !this.body;
    if (!isBetween) throw to ? refusal("serverGoneWaiting", { command: called(to) }) : refusal("serverGone");
    this.close();
    return null;
  }

  answerChunk(to) {
    this.confirmed = afterSaying(this.confirmed, to.kind);
    if (!to.last) return to;
    this.pending.shift();
    this.lastChunks -= 1;
    return this.pending[0].command;
  }

  interrupted(reply) {
    const first = this.pending[0]?.command.kind;
    const isInBody = this.body || ["Bdat", "Burl", "EndOfMessage"].includes(first);
    if (reply.code !== 421 && !(isInBody && reply.code >= 400)) {
      throw refusal("unasked", { code: reply.code, text: quoted(asText(reply.lines[0])) });
    }
    this.close();
    return reply;
  }

  isOneOfSeveral(reply) {
    const { verdicts } = this;
    if (!["data", "chunk"].includes(this.confirmed) && reply.code !== 353) return false;
    if (reply.code === 353) {
      if (verdicts.announced || !verdicts.forEach || !verdicts.accepted.length) throw refusal("announced");
      verdicts.announced = true;
      return true;
    }
    if (!verdicts.announced || verdicts.heard === verdicts.accepted.length) return false;
    reply.recipient = verdicts.accepted[verdicts.heard];
    verdicts.heard += 1;
    return !(this.lmtp && verdicts.heard === verdicts.accepted.length) && reply.code !== 421;
  }

  learn(to, reply) {
    const isPositive = reply.code < 300;
    switch (to.kind) {
      case "Opening": reply.to = null; break;
      case "Ehlo": case "Lhlo": case "Helo":
        if (isPositive) this.features = reply.type === "Hello" ? readFeatures(reply.lines) : new Map();
        break;
      case "Auth": case "AuthResponse": this.authenticated = reply.code === 235; break;
      case "Data": if (reply.code === 354) this.body = {}; break;
      case "XClient": if (reply.code === 220) this.forget(); break;
      case "Mail":
        if (this.hearsEach) {
          const forEach = this.lmtp || (isPositive && to.parameters.has("PRDR"));
          this.verdicts = { forEach, accepted: [], heard: 0, announced: this.lmtp };
        }
        break;
      case "Rcpt": if (this.hearsEach && isPositive) this.verdicts.accepted.push(to.path); break;
    }
  }

  close() {
    this.confirmed = this.predicted = "closed";
    this.mispredicted = false;
    this.pending = [];
    this.lastChunks = 0;
    this.body = null;
  }
}
