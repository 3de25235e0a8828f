"""Prose in many languages, for measuring how well tokens are estimated: written for this, not the texts it was fitted on."""

from __future__ import annotations

TEXTS = {
    "en": "Please read the manual before you call us; most questions are answered on page four. When the light turns red, "
    "switch the machine off, wait two minutes, and try again. If it still refuses to start, write down the number on the "
    "back and send it to our workshop together with a short description of what you were doing at the time.",
    "de": "Bitte zuerst die Bedienungsanleitung lesen und erst dann anrufen; die meisten Fragen werden auf Seite vier beantwortet. "
    "Leuchtet die Lampe rot, wird das Gerät ausgeschaltet und nach zwei Minuten alles noch einmal versucht.",
    "fr": "Veuillez lire le mode d'emploi avant de nous appeler ; la plupart des réponses se trouvent à la page quatre. Si le "
    "voyant devient rouge, éteignez la machine, patientez deux minutes, puis réessayez.",
    "es": "Lea el manual antes de llamarnos; la mayoría de las respuestas están en la página cuatro. Cuando la luz se ponga roja, "
    "apague la máquina, espere dos minutos y vuelva a intentarlo.",
    "pl": "Przed telefonem do nas proszę przeczytać instrukcję; odpowiedzi na większość pytań znajdują się na stronie czwartej. "
    "Gdy lampka zaświeci się na czerwono, należy wyłączyć urządzenie, odczekać dwie minuty i spróbować ponownie.",
    "ru": "Прежде чем звонить нам, прочитайте руководство: ответы на большинство вопросов находятся на четвёртой странице. "
    "Если лампочка загорелась красным, выключите прибор, подождите две минуты и попробуйте ещё раз.",
    "uk": "Перш ніж телефонувати нам, прочитайте посібник: відповіді на більшість запитань є на четвертій сторінці. Якщо лампочка "
    "засвітилася червоним, вимкніть прилад, зачекайте дві хвилини й спробуйте ще раз.",
    "zh": "打电话之前请先阅读说明书，大多数问题在第四页都有答案。如果指示灯变红，请关闭机器，等待两分钟，然后再试一次。如果仍然无法启动，请记下背面的号码，连同简短的说明一起寄给我们。",  # noqa: RUF001 - Chinese commas
    "ja": "お電話の前に取扱説明書をお読みください。ほとんどのご質問は四ページに答えがあります。ランプが赤くなったら、機械の電源を切り、二分待ってからもう一度お試しください。",
    "ko": "전화하시기 전에 설명서를 읽어 주세요. 대부분의 질문은 네 번째 쪽에 답이 있습니다. 표시등이 빨간색으로 바뀌면 기계를 끄고 이 분을 기다린 다음 다시 시도해 보세요.",
    "ar": "يرجى قراءة الدليل قبل الاتصال بنا، فمعظم الأسئلة مجاب عنها في الصفحة الرابعة. إذا أصبح الضوء أحمر فأوقف الجهاز وانتظر دقيقتين ثم حاول مرة أخرى.",
    "hi": "हमें फ़ोन करने से पहले कृपया पुस्तिका पढ़ें; अधिकतर प्रश्नों के उत्तर चौथे पन्ने पर हैं। यदि बत्ती लाल हो जाए तो मशीन बंद करें, दो मिनट रुकें और फिर से कोशिश करें।",
}
