/* What smtplib (`set_debuglevel(1)`) and swaks write of a dialogue, as lines of a script. */

const SMTPLIB = /^(send|reply): b?(['"])(.*)\2$/;
const SWAKS = /^(?:[-~]> ?|(<)[-~*]{1,2} {0,2})(.*)$/;
/* What they tell besides. */
const ASIDE = /^(?:#|===|\*\*\*|connect:|data:|reply: retcode)/;

/* The lines of a script that a line of a log stands for; itself, where it is one of a script. */
function translate(line) {
  if (line.startsWith("=== TLS started")) return ["<starttls>"];
  if (ASIDE.test(line)) return [];
  const swaks = SWAKS.exec(line);
  if (swaks) return [said(swaks[1] ? "S" : "C", swaks[2].replaceAll("\\", "\\\\"))];
  const smtplib = SMTPLIB.exec(line);
  return smtplib ? literal(smtplib[1] === "send" ? "C" : "S", smtplib[3]) : [line];
}

/* Lines out of a literal of Python. */
function literal(side, text) {
  const lines = text.split("\\r\\n");
  const last = lines.pop();
  if (last) lines.push(`${last}\\`);
  return lines.map((line) => said(side, line.replaceAll("\\'", "'").replaceAll("\\t", "\\x09")));
}

function said(side, text) {
  return text ? `${side}: ${text.replace(/ $/, "\\x20")}` : `${side}:`;
}
