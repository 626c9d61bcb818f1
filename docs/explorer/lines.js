/* Octets to commands and replies, by the grammar in TABLES. An octet is a character below 256. */

/* What the core refuses, and in which words. */
class Refusal extends Error {
  constructor(text, code, isFatal = false) {
    super(text);
    this.code = code;
    this.isFatal = isFatal;
  }

  /* In which words a server says so: in ASCII, and not too many. */
  get reply() {
    const text = [...this.message].map((character) => inASCII(character, character.codePointAt(0))).join("");
    return `${this.code || "501 5.5.4"} ${text.slice(0, 200)}`;
  }
}

function inASCII(character, point) {
  if (point < 0x80) return character;
  const [mark, width] = point < 0x100 ? ["x", 2] : point < 0x10000 ? ["u", 4] : ["U", 8];
  return `\\${mark}${point.toString(16).padStart(width, "0")}`;
}

function refusal(name, gaps = {}) {
  const { text, code } = TABLES.errors[name];
  return new Refusal(fill(text, gaps), code);
}

function fill(text, gaps) {
  return text.replace(/\{(\w+)\}/g, (gap, name) => gaps[name] ?? gap);
}

/* A text as Python shows it, and octets. */
function quotedOctets(octets) {
  return `b${quoted(octets).replace(/[\xa1-\xff]/g, (octet) => `\\x${octet.charCodeAt(0).toString(16)}`)}`;
}

function quoted(text) {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const named = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", [mark]: `\\${mark}` };
  const shown = [...text].map((one) => named[one] ?? escaped(one, one.codePointAt(0)));
  return mark + shown.join("") + mark;
}

function escaped(character, point) {
  if (point < 0x20 || (point > 0x7e && point < 0xa1)) return `\\x${point.toString(16).padStart(2, "0")}`;
  return point >= 0xd800 && point < 0xe000 ? `\\u${point.toString(16)}` : character;
}

/* The text of octets in UTF-8. Those that are none become lone surrogates, as in Python. */
function asText(octets) {
  const sequence = /[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}|[\x80-\xff]/g;
  return octets.replace(sequence, (found) => {
    if (found.length === 1) return String.fromCharCode(0xdc00 + found.charCodeAt(0));
    return new TextDecoder().decode(Uint8Array.from(found, (octet) => octet.charCodeAt(0)));
  });
}

const RULES = Object.fromEntries(
  Object.entries(TABLES.grammar).map(([name, source]) => [name, whole(source)]),
);
const ARGUMENTS = Object.fromEntries(
  Object.entries(TABLES.verbs).map(([verb, { rule }]) => [verb, rule && whole(rule)]),
);
const ENHANCED = new RegExp(`^(?:${TABLES.enhancedCode})`);

/* An expression for the whole of a text. */
function whole(source) {
  return new RegExp(`^(?:${source})$`);
}

/* Commands that name a host, which may be an address literal. */
const TAKE_HOSTS = ["Ehlo", "Helo", "Lhlo", "Etrn"];

/* What was received and is not understood yet. */
class Buffer {
  constructor() {
    this.octets = "";
    this.end = 0;
  }

  append(octets) {
    this.octets += octets;
    this.end += octets.length;
  }

  take(count) {
    const taken = this.octets.slice(0, count);
    this.octets = this.octets.slice(count);
    return taken;
  }

  /* The next line without its end; null if it is not complete. */
  line(takesBareLF) {
    const end = takesBareLF ? "\n" : "\r\n";
    const at = this.octets.indexOf(end);
    if (at < 0) return null;
    const line = this.take(at + end.length).slice(0, at);
    return takesBareLF && line.endsWith("\r") ? line.slice(0, -1) : line;
  }
}

/* The command on a line; throws what the core makes of a line that is none. */
function readCommand(line) {
  const envelope = RULES.envelope.exec(line);
  if (envelope) return readEnvelope(envelope.groups);
  const at = line.indexOf(" ");
  const verb = (at < 0 ? line : line.slice(0, at)).toUpperCase();
  const argument = at < 0 ? "" : line.slice(at + 1).replace(/^ +| +$/g, "");
  const kind = TABLES.kinds[verb];
  if (verb === "AUTH") return readAuth(argument);
  if (verb === "XCLIENT" || verb === "XFORWARD") return readAttributes(kind, argument);
  if (kind) return readPlain(kind, verb, argument);
  if (!RULES.verb.test(at < 0 ? line : line.slice(0, at))) throw refusal("notCommand");
  return { kind: "UnknownCommand" };
}

function readPlain(kind, verb, argument) {
  const form = TABLES.verbs[verb];
  const asksForUTF8 = (verb === "VRFY" || verb === "EXPN") && /^.*? SMTPUTF8$/i.test(argument);
  const judged = asksForUTF8 ? argument.slice(0, -9).replace(/ +$/, "") : argument;
  const rule = ARGUMENTS[verb];
  const match = rule ? rule.exec(judged) : judged === "" && kind !== "Mail" && kind !== "Rcpt";
  const isRight = match && (!TAKE_HOSTS.includes(kind) || isPlausible(judged));
  if (!form.optional && !isRight) {
    const { text, code } = judged ? form.wrong : form.missing;
    throw new Refusal(fill(text, { argument: quoted(judged) }), code);
  }
  if (kind === "Bdat") return { kind, size: Number(match[1]), last: Boolean(match[2]) };
  if (kind === "Burl" && !RULES.uri.test(match[1])) throw refusal("notURI", { url: quoted(match[1]) });
  if (kind === "Burl") return { kind, size: 0, last: Boolean(match[2]) };
  return { kind, verb, asksForUTF8, isASCII: isASCII(judged) };
}

function isASCII(text) {
  return !/[^\0-\x7f]/.test(text);
}

/* Whether a name that looks like an address literal is one. */
function isPlausible(name) {
  const literal = name.replace(/^@+/, "");
  return !literal.startsWith("[") || isAddressLiteral(literal.slice(1, -1));
}

function isAddressLiteral(inside) {
  const at = inside.indexOf(":");
  if (at < 0) return RULES.ipv4.test(inside);
  if (inside.slice(0, at).toUpperCase() !== "IPV6") return RULES.generalLiteral.test(inside);
  try {
    return Boolean(new URL(`http://[${inside.slice(at + 1)}]/`));
  } catch {
    return false;
  }
}

function readEnvelope({ mail, route, local, domain, postmaster, parameters }) {
  const verb = mail ? "MAIL" : "RCPT";
  if (domain?.startsWith("[") && !isAddressLiteral(domain.slice(1, -1))) {
    throw refusal("notLiteral", { literal: quotedOctets(domain) });
  }
  const path = domain === undefined ? (postmaster ?? "") : asText(`${local}@${domain}`);
  const read = readParameters(verb, parameters ?? "");
  if (domain === undefined && Boolean(path) === Boolean(mail)) {
    throw new Refusal(TABLES.verbs[verb].wrong.text, TABLES.verbs[verb].wrong.code);
  }
  return { kind: TABLES.kinds[verb], verb, path, isASCII: isASCII(`${route}${path}`), parameters: read };
}

function readParameters(verb, text) {
  const parameters = new Map();
  for (const word of text.split(" ").filter(Boolean)) {
    const match = RULES.parameter.exec(word);
    if (!match) throw refusal("notParameter", { word: quotedOctets(word) });
    const name = match[1].toUpperCase();
    if (parameters.has(name)) {
      const twice = refusal("parameterTwice", { name });
      twice.code = `501 ${TABLES.parameters[`${verb} ${name}`]?.enhanced ?? "5.5.4"}`;
      throw twice;
    }
    parameters.set(name, (match[2] ?? "").toUpperCase());
  }
  return parameters;
}

function readAuth(argument) {
  const at = argument.indexOf(" ");
  const mechanism = at < 0 ? argument : argument.slice(0, at);
  if (!RULES.mechanism.test(mechanism)) throw refusal("notMechanism");
  const response = argument.slice(at + 1);
  if (at >= 0 && response !== "=" && !RULES.base64.test(response)) throw refusal("notBase64");
  return { kind: "Auth", mechanism: mechanism.toUpperCase() };
}

function readAttributes(kind, argument) {
  const names = [];
  for (const word of argument.split(" ").filter(Boolean)) {
    const match = RULES.attribute.exec(word);
    const name = match ? match[1].toUpperCase() : "";
    if (!match || names.includes(name)) throw refusal("notAttribute", { word: quotedOctets(word) });
    names.push(name);
  }
  if (!names.length) throw refusal("noAttributes", { verb: kind.toUpperCase() });
  return { kind, verb: kind.toUpperCase(), names };
}

function readResponse(line) {
  if (line !== "*" && !RULES.base64.test(line)) throw refusal("notBase64");
  return { kind: "AuthResponse" };
}

/* Replies, line by line. */
class ReplyReader {
  constructor() {
    this.lines = [];
    this.code = "";
    this.began = 0;
  }

  /* The next reply as the answer to a command of this kind; null if it is not complete. */
  read(buffer, to) {
    if (!this.lines.length) this.began = buffer.end - buffer.octets.length;
    let line;
    while ((line = buffer.line(true)) !== null) {
      const match = RULES.replyLine.exec(line);
      if (!match) throw refusal("notReply", { line: quotedOctets(line.slice(0, 80)) });
      const [, code, separator, text = ""] = match;
      if (this.lines.length && code !== this.code) throw refusal("twoCodes", { first: this.code, code });
      this.code = code;
      if (!text.includes("\0")) this.lines.push(text);
      else if (!(to === "Ehlo" || to === "Lhlo") || !this.lines.length) {
        throw refusal("nul", { line: quotedOctets(line.slice(0, 80)) });
      }
      if (separator !== "-") {
        const lines = this.lines;
        this.lines = [];
        return new Reply(Number(code), lines, to);
      }
    }
    return null;
  }
}

class Reply {
  constructor(code, lines, to) {
    this.code = code;
    const special = TABLES.answers[to];
    const isSpecial = special && code >= special.from && code < special.to;
    const isBroken = isSpecial && code === 334 && !RULES.base64.test(lines[0].replace(/^ +| +$/g, ""));
    this.type = isSpecial && !isBroken ? special.type : "Reply";
    this.isBroken = isBroken;
    [this.enhanced, this.lines] = this.type === "Reply" ? splitEnhanced(code, lines) : ["", lines];
  }

  toString() {
    if (this.type === "AuthChallenge") return "334 <hidden>";
    return [this.code, this.enhanced, asText(this.lines.join(" / "))].filter(Boolean).join(" ");
  }
}

function splitEnhanced(code, lines) {
  const find = (line) => {
    const match = ENHANCED.exec(line);
    return match && match[0][0] === String(code)[0] ? match[0] : "";
  };
  const enhanced = find(lines[0]) || find(lines[lines.length - 1]);
  if (!enhanced) return ["", lines];
  return [enhanced, lines.map((line) => (find(line) === enhanced ? line.slice(enhanced.length + 1) : line))];
}

/* What an EHLO reply offers: keyword to words. */
function readFeatures(lines) {
  const features = new Map();
  for (const line of lines.slice(1)) {
    const match = RULES.ehloLine.exec(line);
    if (!match) continue;
    const keyword = match[1].toUpperCase();
    let words = match[3].split(" ").filter(Boolean).map((word) => word.toUpperCase());
    if (match[2]) words.unshift(match[2].slice(1).toUpperCase());
    if (keyword === "AUTH") words = [...(features.get("AUTH") ?? []), ...words];
    features.set(keyword, words);
  }
  return features;
}
