"""What a server has to do, as a table: one line for each rule that can be seen from outside.

    name, section of the RFC, level, what has to be there for it to be asked, and what who keeps it does

What has to be there: `smtp` or `lmtp` as the protocol; the name of an option (`deliver` includes recipients,
and `delivered` includes `deliver`); a keyword of EHLO, in upper case.
"""

from __future__ import annotations

from typing import cast

from ._rules import Level, Rule

_TABLE = {
    "RFC 5321": """
greeting             3.1        must    -  Opens a connection with 220 and its domain, or with 554.
reply-syntax         4.2        must    -  Begins each line with three digits, then SP, "-" or nothing.
reply-codes          4.2.1      must    -  Has the same code on every line of a reply.
reply-line-end       2.3.8      must    -  Ends each line of a reply with CRLF.
reply-line-length    4.5.3.1.5  should  -  Keeps a line of a reply within 512 octets.
reply-text           4.2        must    -  Says nothing but printable ASCII and tabs in a reply.
reply-class          4.2.1      must    -  Answers 3yz only where more is to come: to DATA and in AUTH.
one-reply            4.2        must    -  Answers each command with exactly one reply.
stays                3.8        must    -  Does not hang up but after QUIT or its own 421.
ehlo                 4.1.1.1    must    smtp  Answers EHLO with 250.
ehlo-domain          4.1.1.1    must    -  Begins its answer to EHLO, HELO or LHLO with its domain.
ehlo-keywords        4.1.1.1    must    -  Lists extensions as a keyword and its parameters, one in a line.
ehlo-offers          4.2.4      must    -  Lists no command that it answers with 500 or 502.
ehlo-clears          4.1.4      must    recipients  Clears the transaction with EHLO, as with RSET.
helo                 4.1.1.1    must    smtp  Answers HELO with 250.
helo-plain           3.2        must    smtp  Answers HELO in one line: no extensions.
verb-case            2.4        must    -  Takes verbs, and the words behind them, in upper and lower case.
trailing-blank       4.1.1      should  -  Takes blanks in front of the CRLF of a command.
command-line-length  4.5.3.1.4  must    -  Takes command lines of 512 octets.
command-line-end     2.3.8      must    -  Ends a command at CRLF alone: not at LF, not at CR.
command-pieces       2.4        must    -  Waits for the whole line, however it was cut on its way.
unknown-command      4.2.4      should  -  Answers a command that it does not know with 500 or 502.
no-argument          4.1.1      should  -  Refuses an argument behind RSET, DATA and QUIT.
noop                 4.1.1.9    must    -  Answers NOOP with 250, at any time.
noop-argument        4.1.1.9    should  -  Ignores what stands behind NOOP.
noop-keeps           4.1.1.9    must    recipients  Leaves the transaction as it is at NOOP, VRFY and HELP.
rset                 4.1.1.5    must    -  Answers RSET with 250, at any time.
rset-clears          4.1.1.5    must    recipients  Clears sender and recipients at RSET.
help                 4.1.1.8    should  -  Answers HELP with 211 or 214.
vrfy                 4.3.2      must    -  Answers VRFY, if only with 252 or 502.
quit                 4.1.1.10   must    -  Answers QUIT with 221.
quit-closes          4.1.1.10   must    -  Closes the connection after QUIT.
mail                 3.3        must    -  Answers MAIL with 250, if it does not refuse it.
mail-nested          4.1.4      should  -  Refuses MAIL with 503 where a transaction is open.
mail-syntax          4.1.1.2    must    -  Refuses a MAIL that is none.
mail-parameter       4.1.1.11   must    -  Refuses a parameter of MAIL that it does not know.
null-sender          4.1.1.2    must    -  Takes MAIL FROM:<>.
quoted-local-part    4.1.2      must    -  Understands a local part in quotes.
address-literal      4.1.3      must    -  Understands an address at a literal.
smtputf8-missing     4.1.2      must    -  Refuses an address beyond ASCII without SMTPUTF8.
local-part-length    4.5.3.1.1  must    -  Takes local parts of 64 octets.
path-length          4.5.3.1.3  must    -  Takes paths of 256 octets.
source-route         F.2        must    recipients  Understands a source route.
rcpt                 3.3        must    recipients  Answers RCPT with 250 or 251, if it does not refuse it.
rcpt-needs-mail      3.3        must    recipients  Refuses RCPT with 503 where there was no MAIL.
rcpt-syntax          4.1.1.3    must    -  Refuses a RCPT that is none.
rcpt-parameter       4.1.1.11   must    recipients  Refuses a parameter of RCPT that it does not know.
rcpt-refused         3.3        should  refused  Refuses the recipient that it should refuse.
postmaster           4.5.1      must    smtp  Takes RCPT TO:<Postmaster>, without a domain.
hundred-recipients   4.5.3.1.8  must    recipients,many_recipients  Takes 100 recipients.
in-sequence          4.1.4      must    -  Does not answer 503 to commands in their order.
refusal-keeps        4.1.4      must    recipients  Stays in the same state at a command that it refuses.
data                 3.3        must    recipients  Answers DATA with 354, if it does not refuse it.
data-needs-mail      3.3        should  -  Refuses DATA with 503 or 554 where there was no MAIL.
data-needs-rcpt      3.3        should  smtp  Refuses DATA with 503 or 554 where no recipient was taken.
end-of-data          4.1.1.4    must    deliver  Answers when CRLF.CRLF has come, however it was cut.
bare-line-ends       4.1.1.4    must    attack,deliver  Takes nothing but CRLF.CRLF for the end of data.
dot-stuffing         4.5.2      must    delivered  Removes the dot in front of a line of the data.
content              4.5.2      must    delivered  Delivers the octets of the message as they came.
text-line-length     4.5.3.1.6  must    deliver  Takes lines of text of 1000 octets.
transaction-ends     4.1.1.4    must    deliver  Clears sender and recipients at the end of data.
""",
    "RFC 2920": """
pipelining         3.2  must    PIPELINING  Answers every command of a group, in their order.
pipelining-pieces  3.2  must    PIPELINING  Reads a group the same however it was cut on its way.
""",
    "RFC 1870": """
size-declared  6.1  should  SIZE  Refuses MAIL with 552 where SIZE is over its limit.
size-syntax    6    must    SIZE  Refuses a SIZE that is no number.
size-exceeded  4    should  deliver,SIZE  Refuses a message over its limit with 552.
""",
    "RFC 6152": """
8bitmime          3  must    8BITMIME  Takes BODY=8BITMIME, and BODY=7BIT.
8bitmime-content  3  must    delivered,8BITMIME  Delivers all eight bits of an octet.
body-value        2  must    8BITMIME  Refuses a BODY that is none.
""",
    "RFC 3030": """
bdat                 2  must    recipients,CHUNKING  Answers each chunk with 250, if it does not refuse it.
bdat-count           2  must    recipients,CHUNKING  Reads the octets of a chunk, no more and no less.
bdat-last            2  must    deliver,CHUNKING  Ends the message at LAST, an empty chunk included.
bdat-skips           2  must    CHUNKING  Skips the chunk of a BDAT that it refuses.
bdat-needs-mail      2  should  CHUNKING  Refuses BDAT with 503 or 554 where there was no MAIL.
bdat-needs-rcpt      2  should  CHUNKING  Refuses BDAT with 503 or 554 where no recipient was taken.
bdat-syntax          2  must    CHUNKING  Refuses a BDAT that is none.
bdat-then-data       2  must    recipients,CHUNKING  Refuses DATA with 503 after BDAT.
bdat-content         2  must    delivered,CHUNKING  Delivers the octets of chunks as they came.
binarymime           3  must    BINARYMIME  Takes BODY=BINARYMIME.
binarymime-data      3  must    recipients,BINARYMIME  Refuses DATA with 503 for a BINARYMIME message.
binarymime-chunking  3  must    BINARYMIME  Offers CHUNKING where it offers BINARYMIME.
""",
    "RFC 6531": """
smtputf8           3.2  must    SMTPUTF8  Understands SMTPUTF8, and an address beyond ASCII with it.
smtputf8-8bitmime  3.1  must    SMTPUTF8  Offers 8BITMIME where it offers SMTPUTF8.
""",
    "RFC 3461": """
dsn-mail          5.1  must    DSN  Takes RET and ENVID.
dsn-rcpt          5.1  must    recipients,DSN  Takes NOTIFY and ORCPT.
dsn-ret-value     5.1  must    DSN  Refuses a RET that is none.
dsn-notify-value  5.1  should  recipients,DSN  Refuses NOTIFY=NEVER together with anything else.
""",
    "RFC 2034": """
enhanced-codes  4  must    ENHANCEDSTATUSCODES  Has an enhanced code on each line of 2yz, 4yz and 5yz.
enhanced-class  4  must    ENHANCEDSTATUSCODES  Has enhanced codes of the class of the reply.
""",
    "RFC 3207": """
starttls            4    must    starttls,STARTTLS  Answers STARTTLS with 220, and does the handshake.
starttls-argument   4    must    STARTTLS  Refuses an argument behind STARTTLS.
starttls-clears     4.2  must    starttls,recipients,STARTTLS  Forgets the transaction at the handshake.
starttls-offer      4.2  must    starttls,STARTTLS  Does not offer STARTTLS under TLS.
starttls-again      4.2  should  starttls,STARTTLS  Refuses STARTTLS under TLS.
starttls-injection  6    must    attack,starttls,STARTTLS  Runs nothing that came in the clear behind it.
""",
    "RFC 4954": """
auth              4  must    credentials,AUTH  Answers good credentials with 235.
auth-fails        4  must    AUTH  Refuses credentials that are none.
auth-challenge    4  must    AUTH  Writes a challenge in base64, behind "334 ".
auth-cancel       4  must    AUTH  Refuses with 501 an exchange that the client ends with "*".
auth-base64       4  must    AUTH  Refuses with 501 a response that is not base64.
auth-mechanism    4  must    AUTH  Refuses with 504 a mechanism that it does not offer.
auth-again        4  must    credentials,AUTH  Refuses AUTH with 503 after a successful one.
auth-transaction  4  must    AUTH  Refuses AUTH with 503 where a transaction is open.
""",
    "RFC 1985": """
etrn-syntax  5  must    ETRN  Refuses an ETRN without a node.
""",
    "RFC 2033": """
lmtp-lhlo        4.1  must    lmtp  Answers LHLO with 250.
lmtp-no-ehlo     4.1  must    lmtp  Refuses EHLO and HELO.
lmtp-extensions  5    must    lmtp  Offers PIPELINING and ENHANCEDSTATUSCODES.
lmtp-needs-rcpt  4.2  must    lmtp  Refuses DATA with 503 where no recipient was taken.
lmtp-replies     4.2  must    lmtp,deliver  Answers the end of data once for each recipient that it took.
lmtp-refused     4.2  must    lmtp,deliver,refused  Gives no such answer for a recipient that it refused.
lmtp-bdat        4.3  must    lmtp,deliver,CHUNKING  Answers BDAT LAST once for each recipient that it took.
""",
}


def _rows() -> list[tuple[Rule, tuple[str, ...]]]:
    rows = []
    for rfc, table in _TABLE.items():
        for line in table.strip().splitlines():
            name, section, level, needs, text = line.split(None, 4)
            rule = Rule(name, f"{rfc} {section}", cast(Level, level), text)
            rows.append((rule, () if needs == "-" else tuple(needs.split(","))))
    return rows


NEEDS: dict[str, tuple[str, ...]] = {rule.name: needs for rule, needs in _rows()}
"""The name of each rule, and what has to be there for it to be asked."""

SERVER_RULES: tuple[Rule, ...] = tuple(rule for rule, _ in _rows())
"""Every rule that `check_server` knows, in the order of its verdicts."""
