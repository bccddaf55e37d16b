/* entries.h -- kernel entries made up by tests, and stores in folders of their own */
#ifndef TESTS_ENTRIES_H
#define TESTS_ENTRIES_H

#include "store.h"

enum { ENTRIES_PATH = 300 };

/* Its key begins with `number`. */
void entries_key(int number, uint8_t key[ENTRY_KEY_BYTES]);

/* An entry of that key with an image of `bytes` bytes, each `fill`; free() *out. */
void entries_make(int number, int fill, size_t bytes, void **out, size_t *count);

/* FOLDER/xx/HEX.qk1 and FOLDER/xx. */
void entries_path(const char *folder, int number, char out[ENTRIES_PATH]);
void entries_shard(const char *folder, int number, char out[ENTRIES_PATH]);

/* Put bytes where the entry would be, whatever they are. */
void entries_write(const char *folder, int number, const void *bytes, size_t count);

/* What the store has: NULL for a miss; else the bytes (free()) and their number. */
void *entries_get(struct store *s, int number, size_t *count);

/* A new folder below /dev/shm, where syncing is free, or /tmp; remove it with entries_remove(). */
void entries_folder(char out[64]);
void entries_remove(const char *folder);

#endif
