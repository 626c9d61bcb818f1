// Sends the letter that is described on standard input, and says what nodemailer says of it.

const fs = require("fs");
const net = require("net");
const nodemailer = require("nodemailer");

const job = JSON.parse(fs.readFileSync(0));
const { unix, ...options } = job.options;
options.tls = { ca: fs.readFileSync(job.ca) };
const message = { envelope: job.envelope, raw: Buffer.from(job.raw, "hex") };

async function send() {
  if (unix) {
    options.connection = net.connect(unix);
    await new Promise((connected) => options.connection.once("connect", connected));
  }
  const transport = nodemailer.createTransport(options);
  const sent = await transport.sendMail(message);
  const refusals = (sent.rejectedErrors || []).map((error) => error.response);
  console.log(sent.response, refusals.join(" "));
  process.exitCode = sent.rejected.length ? 1 : 0;
}

send().catch((error) => {
  console.log(error.message, error.response, error.stack);
  process.exitCode = 1;
});
