/* Media bugs: callbacks on the audio that passes through one session.
 *
 * READ runs on the thread that reads the session, WRITE and WRITE_REPLACE on the thread that writes to it; one of
 * each can run at the same time. CLOSE comes once, after the bug has left the session's list. */
#ifndef FREESWITCH_ABI_MEDIA_BUG_H
#define FREESWITCH_ABI_MEDIA_BUG_H

#include "codec.h"

typedef enum {
	SWITCH_ABC_TYPE_INIT = 0,
	SWITCH_ABC_TYPE_READ = 1,
	SWITCH_ABC_TYPE_WRITE = 2,
	SWITCH_ABC_TYPE_WRITE_REPLACE = 3,
	SWITCH_ABC_TYPE_READ_REPLACE = 4,
	SWITCH_ABC_TYPE_READ_PING = 5,
	SWITCH_ABC_TYPE_TAP_NATIVE_READ = 6,
	SWITCH_ABC_TYPE_TAP_NATIVE_WRITE = 7,
	SWITCH_ABC_TYPE_CLOSE = 8
} switch_abc_type_t;

typedef enum {
	SMBF_READ_STREAM = 1 << 0,
	SMBF_WRITE_STREAM = 1 << 1,
	SMBF_WRITE_REPLACE = 1 << 2,
	SMBF_READ_REPLACE = 1 << 3,
	SMBF_READ_PING = 1 << 4,
	SMBF_STEREO = 1 << 5,
	SMBF_ANSWER_REQ = 1 << 6,
	SMBF_BRIDGE_REQ = 1 << 7,
	SMBF_THREAD_LOCK = 1 << 8,
	SMBF_PRUNE = 1 << 9,
	SMBF_NO_PAUSE = 1 << 10,
	SMBF_STEREO_SWAP = 1 << 11,
	SMBF_LOCK = 1 << 12,
	SMBF_TAP_NATIVE_READ = 1 << 13,
	SMBF_TAP_NATIVE_WRITE = 1 << 14,
	SMBF_ONE_ONLY = 1 << 15,
	SMBF_FIRST = 1 << 26,
	SMBF_PAUSE = 1 << 27
} switch_media_bug_flag_enum_t;
typedef uint32_t switch_media_bug_flag_t;

/* SWITCH_FALSE from READ, WRITE or WRITE_REPLACE takes the bug off the session; from INIT it refuses the bug, and then no
 * CLOSE follows. */
typedef switch_bool_t (*switch_media_bug_callback_t)(switch_media_bug_t *bug, void *user_data, switch_abc_type_t type);

/* `function` and `target` are copied. `stop_time` is seconds since the epoch, 0 for never. */
switch_status_t switch_core_media_bug_add(switch_core_session_t *session, const char *function, const char *target,
										  switch_media_bug_callback_t callback, void *user_data, time_t stop_time,
										  switch_media_bug_flag_t flags, switch_media_bug_t **new_bug);
switch_status_t switch_core_media_bug_remove(switch_core_session_t *session, switch_media_bug_t **bug);
/* Takes one packet of buffered audio into frame->data: one direction, the sum of both, or interleaved with SMBF_STEREO.
 * A direction that has nothing is replaced by bytes of 255, or, with `fill`, nothing is taken and the answer is not SUCCESS.
 * So a loop asks without `fill` first and with it from then on: always without, and one direction alone never ends; always
 * with, and two directions give nothing while nobody writes. `frame->buflen` must hold a packet, twice that with SMBF_STEREO. */
switch_status_t switch_core_media_bug_read(switch_media_bug_t *bug, switch_frame_t *frame, switch_bool_t fill);
/* Forgets what is buffered in either direction. Also from READ. */
void switch_core_media_bug_flush(switch_media_bug_t *bug);
/* Bytes buffered in either direction; 0 in one that the bug does not have. */
void switch_core_media_bug_inuse(switch_media_bug_t *bug, switch_size_t *readp, switch_size_t *writep);
switch_core_session_t *switch_core_media_bug_get_session(switch_media_bug_t *bug);
void *switch_core_media_bug_get_user_data(switch_media_bug_t *bug);
/* The frame of the running WRITE_REPLACE callback; its samples may be changed in place. */
switch_frame_t *switch_core_media_bug_get_write_replace_frame(switch_media_bug_t *bug);
void switch_core_media_bug_set_write_replace_frame(switch_media_bug_t *bug, switch_frame_t *frame);

#endif
