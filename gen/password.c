/* password.c -- passwords of secret keys: from a file, or asked for at the terminal */
#include "password.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>

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

/* A line that is not shown; what was typed does not stay in the stream's buffer. */
static qrt_status read_hidden(FILE *terminal, const char *prompt, char out[SIGN_PASSWORD_BYTES])
{
    struct termios shown, hidden;
    if (tcgetattr(fileno(terminal), &shown) != 0)
        return error_set(QRT_E_IO, "/dev/tty: %s", strerror(errno));
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    fputs(prompt, terminal);
    fflush(terminal);
    tcsetattr(fileno(terminal), TCSAFLUSH, &hidden);
    const char *line = fgets(out, SIGN_PASSWORD_BYTES, terminal);
    tcsetattr(fileno(terminal), TCSAFLUSH, &shown);
    fputc('\n', terminal);
    if (!line) return error_set(QRT_E_IO, "/dev/tty: no password");
    out[strcspn(out, "\n")] = 0;
    return QRT_OK;
}

static qrt_status ask_at(FILE *terminal, int twice, const char *what, char out[SIGN_PASSWORD_BYTES])
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
    FILE *terminal = fopen("/dev/tty", "r+e");
    if (!terminal)
        return error_set(QRT_E_ARGUMENT,
                         "%s has a password, and there is no terminal to ask for it; use "
                         "--password-file FILE",
                         what);
    setvbuf(terminal, NULL, _IONBF, 0);
    const qrt_status status = ask_at(terminal, source->twice, what, out);
    fclose(terminal);
    return status;
}
