/* password.c -- passwords of secret keys: from a file, or asked for at the terminal */
#include "password.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "error.h"
#include "file.h"

static qrt_status read_first_line(const char *path, char out[SIGN_PASSWORD_BYTES])
{
    void *text;
    size_t bytes;
    TRY(file_read(path, SIGN_PASSWORD_BYTES - 1, &text, &bytes));
    const size_t length = strcspn(text, "\r\n");
    memcpy(out, text, length);
    out[length] = 0;
    sodium_memzero(text, bytes);
    free(text);
    return QRT_OK;
}

/* Up to the newline, byte by byte: what follows it is for the next question.  0: there is none. */
static int read_line(int terminal, char out[SIGN_PASSWORD_BYTES])
{
    size_t length = 0;
    while (length < SIGN_PASSWORD_BYTES - 1 && read(terminal, out + length, 1) == 1)
        if (out[length++] == '\n') {
            out[length - 1] = 0;
            return 1;
        }
    return 0;
}

/* A line that is not shown.  What was typed ahead counts. */
static qrt_status read_hidden(int terminal, const char *prompt, char out[SIGN_PASSWORD_BYTES])
{
    struct termios shown, hidden;
    if (tcgetattr(terminal, &shown) != 0)
        return error_set(QRT_E_IO, "/dev/tty: %s", strerror(errno));
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(terminal, TCSADRAIN, &hidden);
    dprintf(terminal, "%s", prompt);
    const int found = read_line(terminal, out);
    tcsetattr(terminal, TCSADRAIN, &shown);
    dprintf(terminal, "\n");
    return found ? QRT_OK : error_set(QRT_E_IO, "/dev/tty: no password of one line");
}

static qrt_status ask_at(int terminal, int twice, const char *what, char out[SIGN_PASSWORD_BYTES])
{
    char prompt[320], again[SIGN_PASSWORD_BYTES];
    snprintf(prompt, sizeof prompt, "password of %.256s: ", what);
    TRY(read_hidden(terminal, prompt, out));
    if (!twice) return QRT_OK;
    if (!*out) return error_set(QRT_E_ARGUMENT, "an empty password; --no-password says it plainly");
    TRY(read_hidden(terminal, "again: ", again));
    const int differ = strcmp(out, again) != 0;
    sodium_memzero(again, sizeof again);
    return differ ? error_set(QRT_E_ARGUMENT, "the two passwords differ") : QRT_OK;
}

qrt_status password_ask(void *user, const char *what, char out[SIGN_PASSWORD_BYTES])
{
    const struct password_source *source = user;
    if (source->file) return read_first_line(source->file, out);
    const int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (terminal < 0)
        return error_set(QRT_E_ARGUMENT,
                         "%s has a password, and there is no terminal to ask for it; use "
                         "--password-file FILE",
                         what);
    const qrt_status status = ask_at(terminal, source->twice, what, out);
    close(terminal);
    return status;
}
