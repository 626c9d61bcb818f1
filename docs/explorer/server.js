/* The server's end: what is heard between two of its replies, and which replies it may give. */

class Server extends End {
  constructor(lmtp) {
    super(lmtp);
    this.answering = OPENING;
    this.mustRefuse = false;
    this.line = "";
    this.body = null;
    this.chunk = null;
    this.recipients = 0;
    this.verdicts = 0;
    this.skipped = 0;
    this.refused = null;
    this.fault = null;
  }

  get state() {
    return this.confirmed;
  }

  get outstanding() {
    return Number(this.answering !== null);
  }

  /* The next thing that the client says, or null. */
  next() {
    if (this.fault) throw this.fault;
    if (this.answering || NOT_READING.includes(this.confirmed)) return this.pause();
    if (this.body && ["data", "chunk"].includes(this.confirmed)) return this.nextOfBody();
    return this.nextCommand();
  }

  pause() {
    if (this.confirmed === "closed") return null;
    const isStrict = this.confirmed === "tls" || this.answering?.kind === "StartTLS";
    if (isStrict && this.buffer.octets) throw refusal("behindStartTLS");
    return null;
  }

  nextOfBody() {
    if (this.body.read(this.buffer)) return { kind: "MessageData" };
    if (!this.body.isComplete) return this.needData("in the middle of a message");
    this.mustRefuse = Boolean(this.body.refusal);
    if (this.body.isChunk && !this.body.last) {
      this.answering = this.chunk;
      return null;
    }
    this.answering = { kind: "EndOfMessage", refusal: this.body.refusal };
    this.verdicts = this.lmtp ? this.recipients : 0;
    return this.answering;
  }

  nextCommand() {
    if (this.skipped || this.refused) return this.nextAfterRefused();
    const line = this.buffer.line(false);
    if (line === null) return this.needData("in the middle of a command");
    let command;
    try {
      this.line = this.confirmed === "auth" ? "" : line;
      command = this.confirmed === "auth" ? readResponse(line) : readCommand(line);
    } catch (error) {
      return this.malformed(this.weigh(error));
    }
    const { kind } = command;
    try {
      if (!maySay(this.confirmed, kind)) throw refusal("order", { command: kind, state: this.confirmed });
      CHECKS[kind]?.(this, command);
    } catch (error) {
      if (kind === "Bdat") this.skipped = command.size;
      return this.malformed(error);
    }
    if (kind === "Bdat" || kind === "Burl") return this.beginChunk(command);
    if (kind === "UnknownCommand" && RULES.foreign.test(this.line)) throw refusal("foreign");
    this.answering = command;
    return command;
  }

  /* Drop the octets of a refused chunk, and hand it out. */
  nextAfterRefused() {
    this.skipped -= this.buffer.take(this.skipped).length;
    if (this.skipped) return this.needData("in the middle of what is refused");
    [this.answering, this.refused] = [this.refused, null];
    return this.answering;
  }

  /* The client broke the protocol: what follows is no answer. */
  fail() {
    this.answering = null;
  }

  weigh(error) {
    if (RULES.foreign.test(this.line)) return Object.assign(refusal("foreign"), { isFatal: true });
    if (/^BDAT/i.test(this.line)) error.isFatal = true;
    return error;
  }

  malformed(error) {
    if (error.isFatal) throw error;
    const command = { kind: "MalformedCommand", reply: error.reply };
    this.mustRefuse = true;
    if (this.skipped) {
      this.refused = command;
      return this.nextAfterRefused();
    }
    this.answering = command;
    return command;
  }

  beginChunk(command) {
    this.body ??= new Chunks();
    this.confirmed = afterSaying(this.confirmed, command.kind);
    this.body.missing = command.size;
    this.body.last = command.last;
    this.chunk = command;
    return command;
  }

  needData(where) {
    const isInBody = ["data", "chunk"].includes(this.confirmed);
    if (!isInBody && this.buffer.octets.startsWith("\x16")) throw refusal("foreign");
    if (!this.isAtEnd) return null;
    if (this.buffer.octets || this.body || this.skipped) throw refusal("clientGone", { where });
    this.confirmed = "closed";
    return null;
  }

  /* Say the replies that are complete with these octets; hear what waited for them. */
  *say(octets) {
    this.said.append(octets);
    let reply;
    while ((reply = this.replies.read(this.said, this.answering?.kind)) !== null) {
      this.send(reply);
      yield* events(this);
    }
  }

  send(reply) {
    const { answering: command } = this;
    const { code } = reply;
    if (!command) return this.sendUnasked(reply);
    const { kind } = command;
    const name = called(command);
    if (this.mustRefuse && code < 400) throw refusal("mustRefuse", { command: name, code });
    if (reply.isBroken) {
      throw refusal("notThisAnswer", { text: quoted(asText(reply.lines[0])), command: kind });
    }
    const isNamed = code in outcomes(this.confirmed, kind) && (code !== 353 || this.mayAnnounce(reply));
    if (code >= 300 && code < 400 && !isNamed) throw refusal("noAnswer", { code, command: name });
    if (code === 353) {
      this.verdicts = this.recipients + 1;
      return;
    }
    if (this.verdicts && kind === "EndOfMessage" && --this.verdicts > 0 && code !== 421) return;
    this.answering = null;
    this.mustRefuse = false;
    this.confirmed = afterAnswer(this.confirmed, kind, code);
    this.settle(command, reply);
    if (this.mail && !TABLES.inTransaction.includes(this.confirmed)) this.reset();
    const isLast = /^DATA/i.test(this.line) || /[\r\n]/.test(this.line);
    if (code >= 400 && this.buffer.octets && isLast) this.fault = refusal("behindRefused");
    this.line = "";
  }

  sendUnasked(reply) {
    const state = this.confirmed;
    if (state === "closed") throw refusal("over", { state });
    if (reply.code !== 421) throw refusal("nothingWaits", { reply });
    this.confirmed = "closed";
  }

  mayAnnounce(reply) {
    const isAsked = this.answering.kind === "EndOfMessage" && this.mail?.parameters.has("PRDR");
    return isAsked && !this.verdicts && reply.lines.length === 1;
  }

  settle(command, reply) {
    switch (command.kind) {
      case "Ehlo": case "Lhlo": case "Helo":
        if (reply.code < 300) this.features = reply.type === "Hello" ? readFeatures(reply.lines) : new Map();
        break;
      case "Auth": case "AuthResponse": this.authenticated = reply.code === 235; break;
      case "Mail": this.mail = command; break;
      case "Rcpt": this.recipients += reply.code < 300; break;
      case "Data": if (reply.code === 354) this.body = new Data(); break;
      case "XClient": if (reply.code === 220) this.forget(); break;
    }
  }

  reset() {
    this.mail = null;
    this.body = null;
    this.recipients = 0;
  }
}

/* A message after DATA: where it ends, and whether its line ends are regular. */
class Data {
  constructor() {
    this.isChunk = false;
    this.isComplete = false;
    this.isAtStart = true;
    this.refusal = null;
  }

  /* Whether there is content that is handed out. */
  read(buffer) {
    const content = this.isComplete ? "" : this.cut(buffer).replaceAll("\r\n.", "\r\n");
    if (this.refusal) return false;
    const bare = /\r(?!\n)|(?<!\r)\n/.exec(content);
    if (bare) this.refusal = `${TABLES.errors.bare.code} ${TABLES.errors.bare.text}`;
    return Boolean(bare ? bare.index : content);
  }

  /* Take all that is certain: what may begin the end of the message is not. */
  cut(buffer) {
    const end = "\r\n.\r\n";
    if (this.isAtStart) {
      if (".\r\n".startsWith(buffer.octets.slice(0, 3))) {
        this.isComplete = buffer.octets.length > 2;
        if (this.isComplete) buffer.take(3);
        return "";
      }
      if (buffer.octets.startsWith(".")) buffer.take(1);
      this.isAtStart = false;
    }
    const at = buffer.octets.indexOf(end);
    if (at >= 0) {
      this.isComplete = true;
      return buffer.take(at + end.length).slice(0, -3);
    }
    const undecided = ["\r\n.\r", "\r\n.", "\r\n", "\r"].find((rest) => buffer.octets.endsWith(rest)) ?? "";
    return buffer.take(buffer.octets.length - undecided.length);
  }
}

/* A message in chunks. */
class Chunks {
  constructor() {
    this.isChunk = true;
    this.missing = 0;
    this.last = false;
    this.refusal = null;
  }

  get isComplete() {
    return !this.missing;
  }

  read(buffer) {
    const data = buffer.take(this.missing);
    this.missing -= data.length;
    return Boolean(data);
  }
}
