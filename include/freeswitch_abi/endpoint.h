/* What an endpoint module does for its sessions, and what has been agreed for a session's media. */
#ifndef FREESWITCH_ABI_ENDPOINT_H
#define FREESWITCH_ABI_ENDPOINT_H

#include "module.h"
#include "types.h"

/* Stands for every function of an endpoint that only FreeSWITCH calls. */
typedef void (*switch_endpoint_function_t)(void);

/* Queues a digit for the session's leg. Anything but SUCCESS: it is not sent. On the thread that sends it. */
typedef switch_status_t (*switch_io_send_dtmf_t)(switch_core_session_t *session, const switch_dtmf_t *dtmf);

typedef struct switch_io_routines {
	switch_endpoint_function_t outgoing_channel;
	switch_endpoint_function_t read_frame;
	switch_endpoint_function_t write_frame;
	switch_endpoint_function_t kill_channel;
	switch_io_send_dtmf_t send_dtmf;
	switch_endpoint_function_t receive_message;
	switch_endpoint_function_t receive_event;
	switch_endpoint_function_t state_change;
	switch_endpoint_function_t read_video_frame;
	switch_endpoint_function_t write_video_frame;
	switch_endpoint_function_t read_text_frame;
	switch_endpoint_function_t write_text_frame;
	switch_endpoint_function_t state_run;
	switch_endpoint_function_t get_jb;
	void *padding[10];
} switch_io_routines_t;

_Static_assert(sizeof(switch_io_routines_t) == 192, "size of switch_io_routines_t");
_Static_assert(offsetof(switch_io_routines_t, send_dtmf) == 32, "send_dtmf");
_Static_assert(offsetof(switch_io_routines_t, get_jb) == 104, "get_jb");

/* An endpoint, as its module registered it. FreeSWITCH reads `io_routines` at each call of one of them. `refs` counts those who use
 * it, under `reflock`; each of them holds `rwlock` and its parent's for reading. */
typedef struct switch_endpoint_interface {
	const char *interface_name;
	switch_io_routines_t *io_routines;
	struct switch_state_handler_table *state_handler;
	void *private_info;
	switch_thread_rwlock_t *rwlock;
	int refs;
	switch_mutex_t *reflock;
	switch_loadable_module_interface_t *parent;
	struct switch_endpoint_interface *next;
	switch_endpoint_function_t recover_callback;
} switch_endpoint_interface_t;

_Static_assert(sizeof(switch_endpoint_interface_t) == 80, "size of switch_endpoint_interface_t");
_Static_assert(offsetof(switch_endpoint_interface_t, io_routines) == 8, "io_routines");
_Static_assert(offsetof(switch_endpoint_interface_t, state_handler) == 16, "state_handler");
_Static_assert(offsetof(switch_endpoint_interface_t, rwlock) == 32, "rwlock");
_Static_assert(offsetof(switch_endpoint_interface_t, reflock) == 48, "reflock");
_Static_assert(offsetof(switch_endpoint_interface_t, parent) == 56, "parent");

/* NULL, or the endpoint in use, until its locks and its count are given back. */
switch_endpoint_interface_t *switch_loadable_module_get_endpoint_interface(const char *name);

switch_status_t switch_mutex_lock(switch_mutex_t *lock);
switch_status_t switch_mutex_unlock(switch_mutex_t *lock);

/* How digits leave a session. */
typedef enum { DTMF_AUTO = 0, DTMF_2833 = 1, DTMF_INFO = 2, DTMF_NONE = 3 } switch_core_media_dtmf_t;

typedef struct switch_media_handle_s switch_media_handle_t;

/* What is agreed for a session's media: those fields by name that are in use. */
typedef struct switch_core_media_params_s {
	uint32_t rtp_timeout_sec;
	uint32_t rtp_hold_timeout_sec;
	/* Pause between two digits, ms. */
	uint32_t dtmf_delay;
	uint32_t codec_flags;
	uint32_t unused_flags[2];
	char *unused_strings[10];
	char *stun_ip;
	uint32_t unused_stun[2];
	char *jb_msec;
	uint32_t unused_bugs[4];
	char *unused_addresses[8];
	int remote_port;
	char *unused_sip[4];
	switch_payload_t te;
	switch_payload_t recv_te;
	unsigned long te_rate;
	unsigned long cng_rate;
	char *adv_sdp_audio_ip;
	int num_codecs;
	int hold_laps;
	switch_core_media_dtmf_t dtmf_type;
	switch_payload_t cng_pt;
	switch_bool_t external_video_source;
	uint32_t video_key_freq;
	uint32_t video_key_first;
	void *video_write_thread;
} switch_core_media_params_t;

_Static_assert(sizeof(switch_core_media_params_t) == 320, "size of switch_core_media_params_t");
_Static_assert(offsetof(switch_core_media_params_t, dtmf_delay) == 8, "dtmf_delay");
_Static_assert(offsetof(switch_core_media_params_t, stun_ip) == 104, "stun_ip");
_Static_assert(offsetof(switch_core_media_params_t, remote_port) == 208, "remote_port");
_Static_assert(offsetof(switch_core_media_params_t, dtmf_type) == 288, "dtmf_type");

/* NULL for a session whose endpoint has no RTP of FreeSWITCH's. */
switch_media_handle_t *switch_core_session_get_media_handle(switch_core_session_t *session);
/* As long as the session. */
switch_core_media_params_t *switch_core_media_get_mparams(switch_media_handle_t *smh);
/* Makes the channel variable `dtmf_type`, where it is set, the session's. */
void switch_core_media_check_dtmf_type(switch_core_session_t *session);

#endif
