/* error.c -- status texts, and this thread's last message */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[512];

const char *qrt_message(void) { return message; }

qrt_status error_set(qrt_status status, const char *format, ...)
{
    char text[sizeof message]; /* an argument may be the old message */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(message, text, sizeof message);
    return status;
}

qrt_status error_context(qrt_status status, const char *format, ...)
{
    char where[sizeof message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(where, sizeof where, format, arguments);
    va_end(arguments);
    return error_set(status, "%s: %s", where, message);
}

const char *qrt_status_text(qrt_status status)
{
    switch (status) {
#define STATUS_TEXT(name, value, text, advice) \
    case QRT_##name: return text;
        QRT_STATUS_TABLE(STATUS_TEXT)
#undef STATUS_TEXT
    }
    return "unknown status";
}

const char *qrt_status_advice(qrt_status status)
{
    switch (status) {
#define STATUS_ADVICE(name, value, text, advice) \
    case QRT_##name: return advice;
        QRT_STATUS_TABLE(STATUS_ADVICE)
#undef STATUS_ADVICE
    }
    return "";
}
