# SPDX-License-Identifier: Apache-2.0
"""Parts of lockstep_record.py."""
