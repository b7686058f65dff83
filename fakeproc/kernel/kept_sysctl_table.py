# SPDX-License-Identifier: MIT
"""The sysctls that the simulated kernel keeps without obeying them: `TABLE` lists them.

Names, order, values at boot and accepted ranges are those of a 6.18 of the mainline
configuration, as seen on one; `since` is the first version that has the file.

Each line has, two blanks apart: the name under /proc/sys (``*`` stands for each network
interface); the value at boot (``-``: none); what a write may be: ``int``, ``uint``,
``natural`` (an int from 0), ``ulong``, a range ``LOW..HIGH``, ``text`` and the most bytes,
``choice`` and the words, ``ro`` for none; then the mode where it is not 0644, and the version.
"""

TABLE = """\
abi/vsyscall32  1  int
debug/exception-trace  1  int
dev/tty/ldisc_autoload  1  0..1  since 5.1
dev/tty/legacy_tiocsti  1  0..1  since 6.2
fs/aio-max-nr  65536  ulong
fs/aio-nr  0  ro
fs/dentry-negative  0  0..1  since 6.12
fs/dentry-state  0 0 45 0 0 0  ro
fs/dir-notify-enable  1  int
fs/epoll/max_user_watches  0  ulong
fs/fanotify/max_queued_events  16384  natural  since 5.13
fs/fanotify/max_user_groups  128  natural  since 5.13
fs/fanotify/max_user_marks  0  natural  since 5.13
fs/fanotify/watchdog_timeout  0  natural  since 6.18
fs/file-max  0  ulong
fs/fuse/default_request_timeout  0  0..65535  since 6.15
fs/fuse/max_pages_limit  256  1..65535  since 6.13
fs/fuse/max_request_timeout  0  0..65535  since 6.15
fs/inode-nr  0 0  ro
fs/inode-state  0 0 0 0 0 0 0  ro
fs/inotify/max_queued_events  16384  natural
fs/inotify/max_user_instances  128  natural
fs/inotify/max_user_watches  0  natural
fs/lease-break-time  45  int
fs/leases-enable  1  int
fs/mount-max  100000  1..2147483647  since 4.9
fs/mqueue/msg_default  10  1..65536
fs/mqueue/msg_max  10  1..65536
fs/mqueue/msgsize_default  8192  128..16777216
fs/mqueue/msgsize_max  8192  128..16777216
fs/mqueue/queues_max  256  int
fs/nr_open  1048576  64..2147483584
fs/overflowgid  65534  0..65535
fs/overflowuid  65534  0..65535
fs/pipe-max-size  1048576  uint
fs/pipe-user-pages-hard  0  ulong  since 4.5
fs/pipe-user-pages-soft  16384  ulong  since 4.5
fs/protected_fifos  0  0..2  since 4.19
fs/protected_hardlinks  1  0..1
fs/protected_regular  0  0..2  since 4.19
fs/protected_symlinks  0  0..1
fs/quota/allocated_dquots  0  ro
fs/quota/cache_hits  0  ro
fs/quota/drops  0  ro
fs/quota/free_dquots  0  ro
fs/quota/lookups  0  ro
fs/quota/reads  0  ro
fs/quota/syncs  0  ro
fs/quota/writes  0  ro
fs/suid_dumpable  0  0..2
kernel/acct  4 2 30  int
kernel/arch  x86_64  ro  since 6.1
kernel/auto_msgmni  0  0..1
kernel/bootloader_type  114  ro
kernel/bootloader_version  2  ro
kernel/bpf_stats_enabled  0  0..1  since 5.1
kernel/cad_pid  1  int  mode 600
kernel/cap_last_cap  40  ro
kernel/core_file_note_size_limit  4194304  65536..16777216  since 6.10
kernel/core_modes  -  ro  since 6.17
kernel/core_pattern  core  text 128
kernel/core_pipe_limit  0  uint
kernel/core_sort_vma  0  0..1  since 6.15
kernel/core_uses_pid  0  int
kernel/ctrl-alt-del  0  int
kernel/dmesg_restrict  0  0..1
kernel/domainname  (none)  text 65
kernel/firmware_config/force_sysfs_fallback  0  0..1  since 4.17
kernel/firmware_config/ignore_sysfs_fallback  0  0..1  since 4.17
kernel/ftrace_dump_on_oops  0  text 100
kernel/ftrace_enabled  1  int
kernel/hardlockup_all_cpu_backtrace  0  0..1
kernel/hardlockup_panic  0  0..1
kernel/hung_task_all_cpu_backtrace  0  0..1  since 5.9
kernel/hung_task_check_count  4194304  natural
kernel/hung_task_check_interval_secs  0  0..9223372036854775  since 5.0
kernel/hung_task_detect_count  0  ro  since 6.15
kernel/hung_task_panic  0  0..1
kernel/hung_task_timeout_secs  120  0..9223372036854775
kernel/hung_task_warnings  10  -1..2147483647
kernel/io_delay_type  0  int
kernel/io_uring_disabled  0  0..2  since 6.6
kernel/io_uring_group  -1  int  since 6.6
kernel/keys/gc_delay  300  natural
kernel/keys/maxbytes  20000  natural
kernel/keys/maxkeys  200  natural
kernel/keys/persistent_keyring_expiry  259200  natural
kernel/keys/root_maxbytes  25000000  natural
kernel/keys/root_maxkeys  1000000  natural
kernel/kptr_restrict  0  0..2
kernel/max_lock_depth  1024  int
kernel/max_rcu_stall_to_panic  0  1..2147483647  since 5.11
kernel/msg_next_id  -1  ro
kernel/msgmax  8192  natural
kernel/msgmnb  16384  natural
kernel/msgmni  32000  0..32768
kernel/ngroups_max  65536  ro
kernel/nmi_watchdog  0  0..1
kernel/numa_balancing  0  0..3
kernel/numa_balancing_promote_rate_limit_MBps  65536  natural  since 6.1
kernel/oops_all_cpu_backtrace  0  0..1  since 5.9
kernel/oops_limit  10000  uint  since 6.2
kernel/overflowgid  65534  0..65535
kernel/overflowuid  65534  0..65535
kernel/panic_on_io_nmi  0  int
kernel/panic_on_rcu_stall  0  0..1  since 4.8
kernel/panic_on_unrecovered_nmi  0  int
kernel/panic_on_warn  0  0..1
kernel/panic_print  0  ulong  since 5.0
kernel/panic_sys_info  -  text 64  since 6.17
kernel/perf_cpu_time_max_percent  25  0..100
kernel/perf_event_max_contexts_per_stack  8  natural  since 4.7
kernel/perf_event_max_sample_rate  100000  1..2147483647
kernel/perf_event_max_stack  127  0..640  since 4.7
kernel/perf_event_mlock_kb  516  int
kernel/perf_event_paranoid  2  int
kernel/poweroff_cmd  /sbin/poweroff  text 256
kernel/print-fatal-signals  0  int
kernel/printk  4 4 1 7  int
kernel/printk_delay  0  0..10000
kernel/printk_devkmsg  ratelimit  choice on,off,ratelimit  since 4.9
kernel/printk_ratelimit  5  int
kernel/printk_ratelimit_burst  10  int
kernel/pty/max  4096  0..1048576
kernel/pty/nr  0  ro
kernel/pty/reserve  1024  0..1048576
kernel/random/entropy_avail  256  ro
kernel/random/poolsize  256  ro
kernel/random/urandom_min_reseed_secs  60  int
kernel/random/write_wakeup_threshold  256  int
kernel/randomize_va_space  2  int
kernel/real-root-dev  0  int
kernel/sched_autogroup_enabled  1  0..1
kernel/sched_cfs_bandwidth_slice_us  5000  1..2147483647
kernel/sched_deadline_period_max_us  4194304  uint  since 5.4
kernel/sched_deadline_period_min_us  100  uint  since 5.4
kernel/sched_rr_timeslice_ms  100  int
kernel/sched_rt_period_us  1000000  1..2147483647
kernel/sched_rt_runtime_us  950000  -1..2147483647
kernel/seccomp/actions_avail  kill_process kill_thread trap errno user_notif trace log allow  ro  since 4.14
kernel/seccomp/actions_logged  kill_process kill_thread trap errno user_notif trace log  text 256  since 4.14
kernel/sem  32000 1024000000 500 32000  int
kernel/sem_next_id  -1  ro
kernel/shm_next_id  -1  ro
kernel/shm_rmid_forced  0  0..1
kernel/shmall  18446744073692774399  ulong
kernel/shmmax  18446744073692774399  ulong
kernel/shmmni  4096  0..32768
kernel/soft_watchdog  1  0..1
kernel/softlockup_all_cpu_backtrace  0  0..1
kernel/softlockup_panic  0  0..1
kernel/split_lock_mitigate  1  0..1  since 6.2
kernel/sysctl_writes_strict  1  -1..1
kernel/tainted  0  ulong
kernel/task_delayacct  0  0..1  since 5.14
kernel/timer_migration  1  0..1
kernel/traceoff_on_warning  0  int
kernel/tracepoint_printk  0  int
kernel/unknown_nmi_panic  0  int
kernel/unprivileged_bpf_disabled  2  0..2
kernel/usermodehelper/bset  4294967295 511  ulong  mode 600
kernel/usermodehelper/inheritable  4294967295 511  ulong  mode 600
kernel/warn_limit  0  uint  since 6.2
kernel/watchdog  1  0..1
kernel/watchdog_cpumask  -  text 64
kernel/watchdog_thresh  10  0..60
kernel/yama/ptrace_scope  0  0..3
net/core/bpf_jit_enable  1  int
net/core/bpf_jit_harden  0  int  mode 600
net/core/bpf_jit_kallsyms  1  int  mode 600, since 4.11
net/core/bpf_jit_limit  528482304  int  mode 600, since 4.20
net/core/busy_poll  0  int
net/core/busy_read  0  int
net/core/default_qdisc  pfifo_fast  choice pfifo_fast,fq,fq_codel,pfifo,bfifo
net/core/dev_weight  64  int
net/core/dev_weight_rx_bias  1  int  since 4.11
net/core/dev_weight_tx_bias  1  int  since 4.11
net/core/devconf_inherit_init_net  0  int  since 5.1
net/core/fb_tunnels_only_for_init_net  0  int  since 4.17
net/core/flow_limit_cpu_bitmap  0  int
net/core/flow_limit_table_len  4096  int
net/core/gro_normal_batch  8  int  since 5.4
net/core/high_order_alloc_disable  0  int  since 5.14
net/core/max_skb_frags  17  int
net/core/mem_pcpu_rsv  256  int  since 6.10
net/core/message_burst  10  int
net/core/message_cost  5  int
net/core/netdev_budget  300  int
net/core/netdev_budget_usecs  8000  int  since 4.12
net/core/netdev_max_backlog  1000  int
net/core/netdev_rss_key  -  ro
net/core/netdev_tstamp_prequeue  1  int
net/core/netdev_unregister_timeout_secs  10  int  since 5.12
net/core/optmem_max  131072  natural
net/core/rmem_default  212992  int
net/core/rmem_max  4194304  int
net/core/rps_default_mask  0  text 64  since 6.3
net/core/rps_sock_flow_entries  0  int
net/core/skb_defer_max  64  int  since 5.19
net/core/somaxconn  4096  natural
net/core/tstamp_allow_data  1  0..1
net/core/txrehash  1  0..1  since 5.18
net/core/warnings  0  int
net/core/wmem_default  212992  int
net/core/wmem_max  4194304  int
net/core/xfrm_acq_expires  30  int
net/core/xfrm_aevent_etime  10  uint
net/core/xfrm_aevent_rseqth  2  uint
net/core/xfrm_larval_drop  1  int
net/ipv4/cipso_cache_bucket_size  10  int
net/ipv4/cipso_cache_enable  1  int
net/ipv4/cipso_rbm_optfmt  0  int
net/ipv4/cipso_rbm_strictvalid  1  int
net/ipv4/fib_multipath_hash_fields  7  1..4095  since 5.13
net/ipv4/fib_multipath_hash_policy  0  0..3  since 4.12
net/ipv4/fib_multipath_hash_seed  0  uint  since 6.11
net/ipv4/fib_multipath_use_neigh  0  0..1
net/ipv4/fib_notify_on_flag_change  0  0..2  since 5.12
net/ipv4/fib_sync_mem  524288  65536..67108864  since 5.1
net/ipv4/fwmark_reflect  0  0..255
net/ipv4/icmp_echo_enable_probe  0  0..1  since 5.13
net/ipv4/icmp_echo_ignore_all  0  0..1
net/ipv4/icmp_echo_ignore_broadcasts  1  0..1
net/ipv4/icmp_errors_use_inbound_ifaddr  0  0..1
net/ipv4/icmp_ignore_bogus_error_responses  1  0..1
net/ipv4/icmp_msgs_burst  50  natural
net/ipv4/icmp_msgs_per_sec  1000  natural
net/ipv4/icmp_ratelimit  1000  natural
net/ipv4/icmp_ratemask  6168  int
net/ipv4/igmp_link_local_mcast_reports  1  0..255
net/ipv4/igmp_max_memberships  20  int
net/ipv4/igmp_max_msf  10  int
net/ipv4/igmp_qrv  2  1..2147483647
net/ipv4/inet_peer_maxttl  600  int
net/ipv4/inet_peer_minttl  120  int
net/ipv4/inet_peer_threshold  65664  int
net/ipv4/ip_autobind_reuse  0  0..1  since 5.7
net/ipv4/ip_default_ttl  64  1..255
net/ipv4/ip_dynaddr  0  0..255
net/ipv4/ip_early_demux  1  0..255
net/ipv4/ip_forward  0  int
net/ipv4/ip_forward_update_priority  1  0..1  since 4.19
net/ipv4/ip_forward_use_pmtu  0  0..255
net/ipv4/ip_local_port_range  32768 60999  1..65535
net/ipv4/ip_local_reserved_ports  -  text 1024
net/ipv4/ip_no_pmtu_disc  0  0..255
net/ipv4/ip_nonlocal_bind  0  0..255
net/ipv4/ip_unprivileged_port_start  1024  0..65535  since 4.11
net/ipv4/ipfrag_high_thresh  4194304  ulong
net/ipv4/ipfrag_low_thresh  3145728  ulong
net/ipv4/ipfrag_max_dist  64  natural
net/ipv4/ipfrag_secret_interval  0  int
net/ipv4/ipfrag_time  30  int
net/ipv4/nexthop_compat_mode  1  0..1  since 5.8
net/ipv4/ping_group_range  1 0  natural
net/ipv4/raw_l3mdev_accept  1  0..1  since 5.0
net/ipv4/route/error_burst  1250  int
net/ipv4/route/error_cost  250  int
net/ipv4/route/flush  -  text 1024  mode 200
net/ipv4/route/gc_elasticity  8  int
net/ipv4/route/gc_interval  60  int
net/ipv4/route/gc_min_interval  0  int
net/ipv4/route/gc_min_interval_ms  500  int
net/ipv4/route/gc_thresh  -1  int
net/ipv4/route/gc_timeout  300  int
net/ipv4/route/max_size  2147483647  int
net/ipv4/route/min_adv_mss  256  int
net/ipv4/route/min_pmtu  552  68..2147483647
net/ipv4/route/mtu_expires  600  int
net/ipv4/route/redirect_load  5  int
net/ipv4/route/redirect_number  9  int
net/ipv4/route/redirect_silence  5120  int
net/ipv4/tcp_abort_on_overflow  0  0..255
net/ipv4/tcp_adv_win_scale  1  -31..31
net/ipv4/tcp_allowed_congestion_control  reno cubic  text 1024
net/ipv4/tcp_app_win  31  0..31
net/ipv4/tcp_autocorking  1  0..1
net/ipv4/tcp_available_congestion_control  reno cubic  ro
net/ipv4/tcp_available_ulp  -  ro
net/ipv4/tcp_backlog_ack_defer  1  0..1  since 6.7
net/ipv4/tcp_base_mss  1024  int
net/ipv4/tcp_challenge_ack_limit  2147483647  int
net/ipv4/tcp_child_ehash_entries  0  0..16777216  since 6.2
net/ipv4/tcp_comp_sack_delay_ns  1000000  ulong  since 4.18
net/ipv4/tcp_comp_sack_nr  44  0..255  since 4.18
net/ipv4/tcp_comp_sack_slack_ns  100000  ulong  since 5.8
net/ipv4/tcp_congestion_control  cubic  choice cubic,reno
net/ipv4/tcp_dsack  1  0..255
net/ipv4/tcp_early_demux  1  0..255  since 4.12
net/ipv4/tcp_early_retrans  3  0..4
net/ipv4/tcp_ecn  2  0..2
net/ipv4/tcp_ecn_fallback  1  0..1
net/ipv4/tcp_ecn_option  2  0..2  since 6.18
net/ipv4/tcp_ecn_option_beacon  3  0..3  since 6.18
net/ipv4/tcp_ehash_entries  262144  ro  since 6.2
net/ipv4/tcp_fack  0  0..255
net/ipv4/tcp_fastopen  1  int
net/ipv4/tcp_fastopen_blackhole_timeout_sec  0  natural  since 4.12
net/ipv4/tcp_fastopen_key  00000000-00000000-00000000-00000000  text 1024  mode 600
net/ipv4/tcp_fin_timeout  60  int
net/ipv4/tcp_frto  2  0..255
net/ipv4/tcp_fwmark_accept  0  0..255
net/ipv4/tcp_invalid_ratelimit  500  natural
net/ipv4/tcp_keepalive_intvl  75  int
net/ipv4/tcp_keepalive_probes  9  0..255
net/ipv4/tcp_keepalive_time  7200  int
net/ipv4/tcp_l3mdev_accept  0  0..1
net/ipv4/tcp_limit_output_bytes  4194304  int
net/ipv4/tcp_low_latency  0  int
net/ipv4/tcp_max_orphans  131072  int
net/ipv4/tcp_max_reordering  300  1..2147483647
net/ipv4/tcp_max_syn_backlog  2048  int
net/ipv4/tcp_max_tw_buckets  131072  int
net/ipv4/tcp_mem  287898 383866 575796  int
net/ipv4/tcp_migrate_req  0  0..1  since 5.14
net/ipv4/tcp_min_rtt_wlen  300  0..86400
net/ipv4/tcp_min_snd_mss  48  48..65535  since 5.2
net/ipv4/tcp_min_tso_segs  2  1..255
net/ipv4/tcp_moderate_rcvbuf  1  0..255
net/ipv4/tcp_mtu_probe_floor  48  48..65535  since 5.3
net/ipv4/tcp_mtu_probing  0  0..255
net/ipv4/tcp_no_metrics_save  0  0..255
net/ipv4/tcp_no_ssthresh_metrics_save  1  0..1  since 5.6
net/ipv4/tcp_notsent_lowat  4294967295  uint
net/ipv4/tcp_orphan_retries  0  0..255
net/ipv4/tcp_pacing_ca_ratio  120  0..1000
net/ipv4/tcp_pacing_ss_ratio  200  0..1000
net/ipv4/tcp_pingpong_thresh  1  1..255  since 6.7
net/ipv4/tcp_plb_cong_thresh  128  0..256  since 6.2
net/ipv4/tcp_plb_enabled  0  0..1  since 6.2
net/ipv4/tcp_plb_idle_rehash_rounds  3  0..31  since 6.2
net/ipv4/tcp_plb_rehash_rounds  12  0..31  since 6.2
net/ipv4/tcp_plb_suspend_rto_sec  60  0..255  since 6.2
net/ipv4/tcp_probe_interval  600  uint
net/ipv4/tcp_probe_threshold  8  int
net/ipv4/tcp_recovery  1  0..255
net/ipv4/tcp_reflect_tos  0  0..1  since 5.10
net/ipv4/tcp_reordering  3  1..300
net/ipv4/tcp_retrans_collapse  1  0..255
net/ipv4/tcp_retries1  3  0..255
net/ipv4/tcp_retries2  15  0..255
net/ipv4/tcp_rfc1337  0  0..255
net/ipv4/tcp_rmem  4096 131072 33554432  1..2147483647
net/ipv4/tcp_rto_max_ms  120000  1000..120000  since 6.15
net/ipv4/tcp_rto_min_us  200000  1..2147483647  since 6.11
net/ipv4/tcp_sack  1  0..255
net/ipv4/tcp_shrink_window  0  0..1  since 6.5
net/ipv4/tcp_slow_start_after_idle  1  0..255
net/ipv4/tcp_stdurg  0  0..255
net/ipv4/tcp_syn_linear_timeouts  4  0..127  since 6.5
net/ipv4/tcp_syn_retries  6  1..127
net/ipv4/tcp_synack_retries  5  0..255
net/ipv4/tcp_syncookies  1  0..255
net/ipv4/tcp_thin_linear_timeouts  0  0..255
net/ipv4/tcp_timestamps  1  0..255
net/ipv4/tcp_tso_rtt_log  9  0..255  since 5.18
net/ipv4/tcp_tso_win_divisor  3  0..255
net/ipv4/tcp_tw_reuse  2  0..2
net/ipv4/tcp_tw_reuse_delay  1000  1..2147483647  since 6.14
net/ipv4/tcp_window_scaling  1  0..255
net/ipv4/tcp_wmem  4096 16384 4194304  1..2147483647
net/ipv4/tcp_workaround_signed_windows  0  0..255
net/ipv4/udp_child_hash_entries  0  0..524288  since 6.1
net/ipv4/udp_early_demux  1  0..255  since 4.12
net/ipv4/udp_hash_entries  16384  ro  since 6.1
net/ipv4/udp_l3mdev_accept  0  0..1  since 4.15
net/ipv4/udp_mem  575799 767732 1151598  int
net/ipv4/udp_rmem_min  4096  1..2147483647
net/ipv4/udp_wmem_min  4096  1..2147483647
net/ipv4/xfrm4_gc_thresh  32768  int
net/ipv6/anycast_src_echo_reply  0  0..255
net/ipv6/auto_flowlabels  1  0..3
net/ipv6/bindv6only  0  0..255
net/ipv6/calipso_cache_bucket_size  10  int  since 4.8
net/ipv6/calipso_cache_enable  1  int  since 4.8
net/ipv6/fib_multipath_hash_fields  7  1..4095  since 5.13
net/ipv6/fib_multipath_hash_policy  0  0..3  since 4.17
net/ipv6/fib_notify_on_flag_change  0  0..2  since 5.12
net/ipv6/flowlabel_consistency  1  0..255
net/ipv6/flowlabel_reflect  0  0..7  since 4.13
net/ipv6/flowlabel_state_ranges  0  0..255
net/ipv6/fwmark_reflect  0  0..255
net/ipv6/icmp/echo_ignore_all  0  0..255  since 4.19
net/ipv6/icmp/echo_ignore_anycast  0  0..255  since 5.2
net/ipv6/icmp/echo_ignore_multicast  0  0..255  since 5.2
net/ipv6/icmp/error_anycast_as_unicast  0  0..1  since 6.10
net/ipv6/icmp/ratelimit  100  natural
net/ipv6/icmp/ratemask  0-1,3-127  text 1024  since 5.2
net/ipv6/idgen_delay  1  int
net/ipv6/idgen_retries  3  int
net/ipv6/ioam6_id  16777215  0..16777215  since 5.15
net/ipv6/ioam6_id_wide  72057594037927935  0..72057594037927935  since 5.15
net/ipv6/ip6frag_high_thresh  4194304  ulong
net/ipv6/ip6frag_low_thresh  3145728  ulong
net/ipv6/ip6frag_secret_interval  0  int
net/ipv6/ip6frag_time  60  int
net/ipv6/ip_nonlocal_bind  0  0..255
net/ipv6/max_dst_opts_length  2147483647  int  since 4.15
net/ipv6/max_dst_opts_number  8  int  since 4.15
net/ipv6/max_hbh_length  2147483647  int  since 4.15
net/ipv6/max_hbh_opts_number  8  int  since 4.15
net/ipv6/mld_max_msf  64  int
net/ipv6/mld_qrv  2  int
net/ipv6/route/flush  -  text 1024  mode 200
net/ipv6/route/gc_elasticity  9  int
net/ipv6/route/gc_interval  30  int
net/ipv6/route/gc_min_interval  0  int
net/ipv6/route/gc_min_interval_ms  0  natural
net/ipv6/route/gc_thresh  1024  int
net/ipv6/route/gc_timeout  60  int
net/ipv6/route/max_size  2147483647  int
net/ipv6/route/min_adv_mss  1220  int
net/ipv6/route/mtu_expires  600  int
net/ipv6/route/skip_notify_on_dev_down  0  0..1  since 5.1
net/ipv6/seg6_flowlabel  0  int  since 4.18
net/ipv6/xfrm6_gc_thresh  32768  int
net/mptcp/add_addr_timeout  120  int  since 5.6
net/mptcp/allow_join_initial_addr_port  1  0..1  since 5.6
net/mptcp/available_path_managers  kernel userspace  ro  since 5.6
net/mptcp/available_schedulers  default  ro  since 5.6
net/mptcp/blackhole_timeout  3600  natural  since 5.6
net/mptcp/checksum_enabled  0  0..1  since 5.6
net/mptcp/close_timeout  60  int  since 5.6
net/mptcp/enabled  1  0..1  since 5.6
net/mptcp/path_manager  kernel  choice kernel,userspace  since 6.15
net/mptcp/pm_type  0  0..1  since 5.6
net/mptcp/scheduler  default  choice default  since 6.8
net/mptcp/stale_loss_cnt  4  uint  since 5.6
net/mptcp/syn_retrans_before_tcp_fallback  2  0..255  since 5.6
net/netfilter/nf_hooks_lwtunnel  0  0..1  since 5.15
net/netfilter/nf_log/0  NONE  text 1024
net/netfilter/nf_log/1  NONE  text 1024
net/netfilter/nf_log/10  nf_log_ipv6  text 1024
net/netfilter/nf_log/2  nf_log_ipv4  text 1024
net/netfilter/nf_log/3  nf_log_arp  text 1024
net/netfilter/nf_log/4  NONE  text 1024
net/netfilter/nf_log/5  nf_log_netdev  text 1024
net/netfilter/nf_log/6  NONE  text 1024
net/netfilter/nf_log/7  nf_log_bridge  text 1024
net/netfilter/nf_log/8  NONE  text 1024
net/netfilter/nf_log/9  NONE  text 1024
net/netfilter/nf_log_all_netns  0  int  since 4.16
net/unix/max_dgram_qlen  10  int
user/max_cgroup_namespaces  0  natural  since 4.9
user/max_fanotify_groups  128  natural  since 5.13
user/max_fanotify_marks  0  natural  since 5.13
user/max_inotify_instances  128  natural  since 4.13
user/max_inotify_watches  0  natural  since 4.13
user/max_ipc_namespaces  0  natural  since 4.9
user/max_mnt_namespaces  0  natural  since 4.9
user/max_net_namespaces  0  natural  since 4.9
user/max_pid_namespaces  0  natural  since 4.9
user/max_time_namespaces  0  natural  since 5.6
user/max_user_namespaces  0  natural  since 4.9
user/max_uts_namespaces  0  natural  since 4.9

# For each interface; further below what is different for one.
net/ipv4/conf/*/accept_local  0  int
net/ipv4/conf/*/accept_redirects  1  int
net/ipv4/conf/*/accept_source_route  1  int
net/ipv4/conf/*/arp_accept  0  int
net/ipv4/conf/*/arp_announce  0  int
net/ipv4/conf/*/arp_evict_nocarrier  1  int  since 5.16
net/ipv4/conf/*/arp_filter  0  int
net/ipv4/conf/*/arp_ignore  0  int
net/ipv4/conf/*/arp_notify  0  int
net/ipv4/conf/*/bc_forwarding  0  int  since 4.19
net/ipv4/conf/*/bootp_relay  0  int
net/ipv4/conf/*/disable_policy  0  int
net/ipv4/conf/*/disable_xfrm  0  int
net/ipv4/conf/*/drop_gratuitous_arp  0  int
net/ipv4/conf/*/drop_unicast_in_l2_multicast  0  int
net/ipv4/conf/*/force_igmp_version  0  int
net/ipv4/conf/*/forwarding  0  int
net/ipv4/conf/*/igmpv2_unsolicited_report_interval  10000  int
net/ipv4/conf/*/igmpv3_unsolicited_report_interval  1000  int
net/ipv4/conf/*/ignore_routes_with_linkdown  0  int
net/ipv4/conf/*/log_martians  0  int
net/ipv4/conf/*/mc_forwarding  0  ro
net/ipv4/conf/*/medium_id  0  int
net/ipv4/conf/*/promote_secondaries  0  int
net/ipv4/conf/*/proxy_arp  0  int
net/ipv4/conf/*/proxy_arp_pvlan  0  int
net/ipv4/conf/*/route_localnet  0  int
net/ipv4/conf/*/rp_filter  0  int
net/ipv4/conf/*/secure_redirects  1  int
net/ipv4/conf/*/send_redirects  1  int
net/ipv4/conf/*/shared_media  1  int
net/ipv4/conf/*/src_valid_mark  0  int
net/ipv4/conf/*/tag  0  int
net/ipv4/neigh/*/anycast_delay  100  natural
net/ipv4/neigh/*/app_solicit  0  natural
net/ipv4/neigh/*/base_reachable_time  30  natural
net/ipv4/neigh/*/base_reachable_time_ms  30000  natural
net/ipv4/neigh/*/delay_first_probe_time  5  natural
net/ipv4/neigh/*/gc_stale_time  60  natural
net/ipv4/neigh/*/interval_probe_time_ms  5000  natural
net/ipv4/neigh/*/locktime  100  natural
net/ipv4/neigh/*/mcast_resolicit  0  natural
net/ipv4/neigh/*/mcast_solicit  3  natural
net/ipv4/neigh/*/proxy_delay  80  natural
net/ipv4/neigh/*/proxy_qlen  64  natural
net/ipv4/neigh/*/retrans_time  100  natural
net/ipv4/neigh/*/retrans_time_ms  1000  natural
net/ipv4/neigh/*/ucast_solicit  3  natural
net/ipv4/neigh/*/unres_qlen  101  natural
net/ipv4/neigh/*/unres_qlen_bytes  212992  natural
net/ipv6/conf/*/accept_dad  0  int
net/ipv6/conf/*/accept_ra  1  int
net/ipv6/conf/*/accept_ra_defrtr  1  int
net/ipv6/conf/*/accept_ra_from_local  0  int
net/ipv6/conf/*/accept_ra_min_hop_limit  1  int
net/ipv6/conf/*/accept_ra_min_lft  0  int  since 6.4
net/ipv6/conf/*/accept_ra_mtu  1  int
net/ipv6/conf/*/accept_ra_pinfo  1  int
net/ipv6/conf/*/accept_ra_rt_info_max_plen  0  int
net/ipv6/conf/*/accept_ra_rt_info_min_plen  0  int
net/ipv6/conf/*/accept_ra_rtr_pref  1  int
net/ipv6/conf/*/accept_redirects  1  int
net/ipv6/conf/*/accept_source_route  0  int
net/ipv6/conf/*/accept_untracked_na  0  0..2  since 5.19
net/ipv6/conf/*/addr_gen_mode  0  0..3  since 4.11
net/ipv6/conf/*/autoconf  1  int
net/ipv6/conf/*/dad_transmits  1  int
net/ipv6/conf/*/disable_ipv6  0  int
net/ipv6/conf/*/disable_policy  0  int  since 4.15
net/ipv6/conf/*/drop_unicast_in_l2_multicast  0  int
net/ipv6/conf/*/drop_unsolicited_na  0  int
net/ipv6/conf/*/enhanced_dad  1  int  since 4.10
net/ipv6/conf/*/force_forwarding  0  0..1  since 6.17
net/ipv6/conf/*/force_mld_version  0  int
net/ipv6/conf/*/force_tllao  0  int
net/ipv6/conf/*/forwarding  0  int
net/ipv6/conf/*/hop_limit  64  1..255
net/ipv6/conf/*/ignore_routes_with_linkdown  0  int
net/ipv6/conf/*/ioam6_enabled  0  0..1  since 5.15
net/ipv6/conf/*/ioam6_id  65535  0..65535  since 5.15
net/ipv6/conf/*/ioam6_id_wide  4294967295  uint  since 5.15
net/ipv6/conf/*/keep_addr_on_down  0  int
net/ipv6/conf/*/max_addresses  16  int
net/ipv6/conf/*/max_desync_factor  600  int
net/ipv6/conf/*/mc_forwarding  0  ro
net/ipv6/conf/*/mldv1_unsolicited_report_interval  10000  natural
net/ipv6/conf/*/mldv2_unsolicited_report_interval  1000  natural
net/ipv6/conf/*/mtu  1280  1280..2147483647
net/ipv6/conf/*/ndisc_evict_nocarrier  1  0..1  since 5.16
net/ipv6/conf/*/ndisc_notify  0  int
net/ipv6/conf/*/ndisc_tclass  0  0..255  since 5.10
net/ipv6/conf/*/optimistic_dad  0  int
net/ipv6/conf/*/proxy_ndp  0  int
net/ipv6/conf/*/ra_defrtr_metric  1024  1..4294967295  since 5.12
net/ipv6/conf/*/ra_honor_pio_life  0  0..1  since 6.7
net/ipv6/conf/*/ra_honor_pio_pflag  0  0..1  since 6.10
net/ipv6/conf/*/regen_max_retry  3  int
net/ipv6/conf/*/regen_min_advance  2  int  since 6.8
net/ipv6/conf/*/router_probe_interval  60  int
net/ipv6/conf/*/router_solicitation_delay  1  int
net/ipv6/conf/*/router_solicitation_interval  4  int
net/ipv6/conf/*/router_solicitation_max_interval  3600  int  since 4.10
net/ipv6/conf/*/router_solicitations  -1  -1..2147483647
net/ipv6/conf/*/rpl_seg_enabled  0  0..1  since 5.7
net/ipv6/conf/*/seg6_enabled  0  int  since 4.10
net/ipv6/conf/*/seg6_require_hmac  0  int  since 4.10
net/ipv6/conf/*/stable_secret  -  text 1024  mode 600
net/ipv6/conf/*/suppress_frag_ndisc  1  int
net/ipv6/conf/*/temp_prefered_lft  86400  int
net/ipv6/conf/*/temp_valid_lft  604800  int
net/ipv6/conf/*/use_oif_addrs_only  0  int
net/ipv6/conf/*/use_optimistic  0  int
net/ipv6/conf/*/use_tempaddr  0  int
net/ipv6/neigh/*/anycast_delay  100  natural
net/ipv6/neigh/*/app_solicit  0  natural
net/ipv6/neigh/*/base_reachable_time  30  natural
net/ipv6/neigh/*/base_reachable_time_ms  30000  natural
net/ipv6/neigh/*/delay_first_probe_time  5  natural
net/ipv6/neigh/*/gc_stale_time  60  natural
net/ipv6/neigh/*/interval_probe_time_ms  5000  natural
net/ipv6/neigh/*/locktime  0  natural
net/ipv6/neigh/*/mcast_resolicit  0  natural
net/ipv6/neigh/*/mcast_solicit  3  natural
net/ipv6/neigh/*/proxy_delay  80  natural
net/ipv6/neigh/*/proxy_qlen  64  natural
net/ipv6/neigh/*/retrans_time  250  natural
net/ipv6/neigh/*/retrans_time_ms  1000  natural
net/ipv6/neigh/*/ucast_solicit  3  natural
net/ipv6/neigh/*/unres_qlen  101  natural
net/ipv6/neigh/*/unres_qlen_bytes  212992  natural
net/ipv4/conf/all/accept_source_route  0  int
net/ipv4/conf/lo/disable_policy  1  int
net/ipv4/conf/lo/disable_xfrm  1  int
net/ipv4/neigh/default/gc_interval  30  natural
net/ipv4/neigh/default/gc_thresh1  128  natural
net/ipv4/neigh/default/gc_thresh2  512  natural
net/ipv4/neigh/default/gc_thresh3  1024  natural
net/ipv4/neigh/lo/unres_qlen_bytes  211090  natural
net/ipv6/conf/default/accept_dad  1  int
net/ipv6/conf/lo/accept_dad  -1  int
net/ipv6/conf/lo/mtu  65536  1280..2147483647
net/ipv6/conf/lo/use_tempaddr  -1  int
net/ipv6/neigh/default/gc_interval  30  natural
net/ipv6/neigh/default/gc_thresh1  128  natural
net/ipv6/neigh/default/gc_thresh2  512  natural
net/ipv6/neigh/default/gc_thresh3  1024  natural
net/ipv6/neigh/lo/unres_qlen_bytes  211090  natural
vm/compact_unevictable_allowed  1  0..1
vm/compaction_proactiveness  20  0..100  since 5.9
vm/defrag_mode  0  0..1  since 6.15
vm/dirty_expire_centisecs  3000  natural
vm/dirty_writeback_centisecs  500  int
vm/dirtytime_expire_seconds  43200  natural
vm/extfrag_threshold  500  0..1000
vm/hugetlb_optimize_vmemmap  0  0..1  since 5.19
vm/hugetlb_shm_group  0  int
vm/laptop_mode  0  int
vm/legacy_va_layout  0  natural
vm/max_map_count  65530  natural
vm/memfd_noexec  0  0..2  since 6.3
vm/min_slab_ratio  5  0..100
vm/min_unmapped_ratio  1  0..100
vm/mmap_min_addr  4096  ulong
vm/mmap_rnd_bits  28  28..32  mode 600, since 4.5
vm/mmap_rnd_compat_bits  8  8..16  mode 600, since 4.5
vm/nr_overcommit_hugepages  0  ulong
vm/numa_stat  1  0..1  since 4.15
vm/page-cluster  3  0..31
vm/page_lock_unfairness  5  natural  since 5.9
vm/stat_interval  1  int
vm/unprivileged_userfaultfd  0  0..1  since 5.2
vm/vfs_cache_pressure_denom  100  100..2147483647  since 6.16
vm/watermark_boost_factor  15000  natural  since 5.0
vm/zone_reclaim_mode  0  natural
"""
